"""Takes samples back: the index forgets them, their revisions are turned away from now on, and subscribers are told.

Why a subscriber hears of the retraction after the acceptance, whichever comes first here, is argued in README.md.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from headrace.core.dossiers import AcceptedSample, Dossier, Retraction
from headrace.core.events import Emit, Event, Result, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import VectorIndex
from headrace.core.reasons import Reason
from headrace.core.retractions import NOTE_CHARS_MAX, RetractionReason, RetractionRequested, is_retracted
from headrace.core.samples import Sample
from headrace.core.topics import RETRACTION_REQUESTED, accepted_topic


class Retracting:
    """The handler of one process. All it remembers is in the index."""

    def __init__(self, index: VectorIndex, policy_of: Callable[[str], Policy | None]) -> None:
        self._index = index
        self._policy_of = policy_of

    async def retract(self, events: Sequence[Event[RetractionRequested]]) -> Sequence[Result]:
        """Make each request a standing rule and tell the dataset's subscribers, also where nothing was accepted so far.

        Raises:
            Stop: the index is gone.
        """
        rules: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for event in events:
            if self._policy_of(event.body.dataset_id) is not None:
                rules[event.body.dataset_id].append((event.body.sample_id, event.body.revision))
        for dataset_id, mine in rules.items():
            await self._index.retract(dataset_id, mine)
        return [_told(event.body) if event.body.dataset_id in rules else no_policy(event.body.dataset_id) for event in events]


def parent_of(dossier: Dossier) -> tuple[str, int] | None:
    """Which sample, id and revision, a rewrite rewords; None for all that is no rewrite."""
    return (dossier.rewrite.parent.id, dossier.rewrite.parent.revision) if dossier.rewrite else None


async def taken_back(index: VectorIndex, accepted: Sequence[tuple[int, Dossier]]) -> dict[int, Result]:
    """What becomes of accepted samples that were retracted while they were on their way: numbers as they were given.

    A rewrite goes with the revision that it rewords: its text is that sample's. No rule covers the rewrite's own revision yet,
    so one is asked for, that versions and subscribers go by too.

    To be asked after the index accepted them, never before: of two that change it at a time one must see the other.
    """
    asked: dict[str, set[str]] = defaultdict(set)
    for _, dossier in accepted:
        parent = parent_of(dossier)
        asked[dossier.sample.dataset_id].update((dossier.sample.id, *([parent[0]] if parent else ())))
    reach = await index.retracted(asked) if asked else {}
    results: dict[int, Result] = {}
    rules: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for n, dossier in accepted:
        sample, parent, known = dossier.sample, parent_of(dossier), reach.get(dossier.sample.dataset_id, {})
        if is_retracted(known, sample.id, sample.revision):
            results[n] = _retraction(sample.dataset_id, sample.id, sample.revision, Reason.RETRACTED)
        elif parent is not None and is_retracted(known, *parent):
            results[n] = Emit((Send(RETRACTION_REQUESTED, _rule_for(sample, parent)),))
        else:
            continue
        rules[sample.dataset_id].append((sample.id, sample.revision))
    for dataset_id, mine in rules.items():
        await index.retract(dataset_id, mine)
    return results


def _rule_for(sample: Sample, parent: tuple[str, int]) -> RetractionRequested:
    return RetractionRequested(
        sample.dataset_id,
        sample.id,
        sample.revision,
        RetractionReason.OTHER,
        request_id=f"rewrite:{sample.id}:{sample.revision}",
        requested_by="diversity",
        note=f"it rewords {parent[0]} revision {parent[1]}, which was retracted meanwhile"[:NOTE_CHARS_MAX],
    )


def _told(asked: RetractionRequested) -> Emit:
    return _retraction(asked.dataset_id, asked.sample_id, asked.revision, asked.reason)


def _retraction(dataset_id: str, sample_id: str, revision: int, reason: str) -> Emit:
    return Emit((Send(accepted_topic(dataset_id), AcceptedSample(Retraction(dataset_id, sample_id, revision, reason))),))
