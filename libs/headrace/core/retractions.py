"""Taking back what was accepted: a standing rule for one sample, so that order, repetition and delay do not matter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class RetractionReason(StrEnum):
    """Why a sample is taken back: codes are never renamed or reused; `RETRACTION_MEANING` says them in words."""

    LICENCE = "licence"
    PRIVACY = "privacy"
    CONTAMINATION = "contamination"
    MISTAKE = "mistake"
    REDUNDANT = "redundant"
    UNMENDED = "unmended"
    ROUND_REVERTED = "round_reverted"
    OTHER = "other"


RETRACTION_MEANING: dict[RetractionReason, str] = {
    RetractionReason.LICENCE: "its licence does not allow this use",
    RetractionReason.PRIVACY: "it speaks of a person who does not want that, or may not",
    RetractionReason.CONTAMINATION: "it is in a benchmark that the model is measured by",
    RetractionReason.MISTAKE: "it is wrong, or was never meant to be sent",
    RetractionReason.REDUNDANT: "a round evicted it: its neighbours say the same",
    RetractionReason.UNMENDED: "a round could not mend it, and the policy does not keep such samples",
    RetractionReason.ROUND_REVERTED: "a round had added it, and was undone",
    RetractionReason.OTHER: "the note says why",
}

BY_ROUNDS = frozenset({RetractionReason.REDUNDANT, RetractionReason.UNMENDED, RetractionReason.ROUND_REVERTED})
"""Reasons that rounds alone give: nobody else can know that they hold."""

NOTE_CHARS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class RetractionRequested:
    """From now on no revision of the sample up to and including `revision` belongs to the dataset.

    A rule, not a deed: it holds whether the sample was accepted before, is on its way, or comes again later, and to say it
    twice changes nothing. A higher revision may be accepted. `reason` is a stable code, `note` free text.
    """

    dataset_id: str
    sample_id: str
    revision: int
    reason: str
    request_id: str
    requested_by: str
    note: str = ""


def highest(retracted: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Of several rules for one sample the furthest reaching: the highest retracted revision by sample id."""
    reach: dict[str, int] = {}
    for sample_id, revision in retracted:
        reach[sample_id] = max(revision, reach.get(sample_id, revision))
    return reach


def is_retracted(reach: Mapping[str, int], sample_id: str, revision: int) -> bool:
    """Whether rules, as `highest` gives them, cover this revision of the sample."""
    return revision <= reach.get(sample_id, -1)
