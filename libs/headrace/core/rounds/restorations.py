"""A row that comes back: what it is when it is submitted again, and what follows from the decision on it. Pure.

It was in the dataset before, accepted under the policy of its time, so it is not judged anew: no bound on its signals or its
neighbourhood, no standing threshold, no check, no near-duplicates. Going back is to lead to the rows that were there, whatever
the policy says by now; nobody holds old rows against a new policy otherwise, either.

What others did meanwhile is held against it all the same. A later revision stands, and a retraction does. Where somebody sent
the very same content under another id it stays out, since no two accepted samples have one content; then what the round had put
in its place leaves all the same.
"""

from dataclasses import dataclass, replace

from headrace.core.dossiers import Dossier, Verdict
from headrace.core.reasons import Reason
from headrace.core.retractions import RetractionReason, RetractionRequested
from headrace.core.rounds.facts import RestorationEnded, RoundProgressed
from headrace.core.rounds.revisions import revision_back
from headrace.core.samples import Sample


@dataclass(frozen=True, slots=True)
class Follows:
    """What is to be sent beside the decision on a row that was to come back."""

    ended: RoundProgressed | None = None
    retraction: RetractionRequested | None = None


def restored(was: Dossier, latest: int, round_id: str, now: float) -> Dossier:
    """The row as it is submitted again, `latest` being the revision that the round put in its place, or took out.

    Its checks go along: they are about the same content. `now` is Unix seconds.

    Raises:
        NoRevisionLeft: there is no revision above that.
    """
    sample = was.sample
    origin = replace(sample.origin, restored_by=round_id)
    return Dossier(replace(sample, revision=revision_back(sample, latest), origin=origin), now, checks=was.checks)


def is_restored(sample: Sample) -> bool:
    """Whether this very revision brings back what was there before a round."""
    return bool(sample.origin.restored_by)


def follows_from(decided: Dossier, requested_by: str) -> Follows:
    """What follows from the last decision of a dossier; nothing where it is no row that was to come back, or parks."""
    sample = decided.sample
    decision = decided.decisions[-1] if decided.decisions else None
    if not is_restored(sample) or decision is None or decision.verdict not in {Verdict.ACCEPTED, Verdict.REJECTED}:
        return Follows()
    stands = decision.verdict is Verdict.ACCEPTED or decision.reason == Reason.ALREADY_ADMITTED
    fact = RestorationEnded(sample.id, sample.revision, stands, str(decision.reason))
    ended = RoundProgressed(sample.dataset_id, sample.origin.restored_by, fact)
    is_elsewhere = decision.reason == Reason.EXACT_DUPLICATE
    return Follows(ended, retraction_of(sample, sample.origin.restored_by, requested_by) if is_elsewhere else None)


def retraction_of(sample: Sample, round_id: str, requested_by: str) -> RetractionRequested:
    """What a round put there leaves as it is undone."""
    return left_behind(sample.dataset_id, sample.id, sample.revision, round_id, requested_by)


def left_behind(dataset_id: str, sample_id: str, revision: int, round_id: str, requested_by: str) -> RetractionRequested:
    """As `retraction_of`, of a sample of which no more is known."""
    request_id = f"{round_id}/{sample_id}/reverted"
    reason = RetractionReason.ROUND_REVERTED.value
    return RetractionRequested(dataset_id, sample_id, revision, reason, request_id, requested_by)
