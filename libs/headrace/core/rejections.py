"""What a rejection leaves behind: whose the sample's id and revision is from then on. Pure.

Clients name samples, and an id and revision belongs to the first content that was decided under it. Where that was accepted the
accepted sample says so; where it was rejected this does. What rounds make (a rewrite, a row that comes back) is named by them: it
takes no names from clients, and is not held to what clients were rejected with.
"""

from dataclasses import dataclass

from headrace.core.dossiers import Dossier, DuplicateKind, Verdict
from headrace.core.rounds.restorations import is_restored

_BY_WHAT_STANDS = frozenset(
    {
        DuplicateKind.ALREADY_ADMITTED,
        DuplicateKind.REVISION_CONFLICT,
        DuplicateKind.STALE_REVISION,
        DuplicateKind.RETRACTED,
    }
)
"""Turned away for what was decided under the same id before, which goes on speaking for itself."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision of a sample, and the content that was rejected under it."""

    sample_id: str
    revision: int
    content_hash: str


def rejection_of(decided: Dossier) -> Rejection | None:
    """What is to be remembered after the last decision of a dossier, None where nothing is."""
    if not decided.decisions or decided.decisions[-1].verdict is not Verdict.REJECTED:
        return None
    if decided.rewrite is not None or is_restored(decided.sample):
        return None
    if decided.placement is not None and decided.placement.duplicate_kind in _BY_WHAT_STANDS:
        return None
    sample = decided.sample
    return Rejection(sample.id, sample.revision, sample.content_hash)
