"""Takes samples back: the index forgets them, their revisions are turned away from now on, and subscribers are told.

Why a subscriber hears of the retraction after the acceptance, whichever comes first here, is argued in README.md.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from headrace.core.dossiers import AcceptedSample, Retraction
from headrace.core.events import Emit, Event, Result, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import VectorIndex
from headrace.core.reasons import Reason
from headrace.core.retractions import RetractionRequested, is_retracted
from headrace.core.samples import Sample
from headrace.core.topics import accepted_topic


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


async def taken_back(index: VectorIndex, accepted: Sequence[tuple[int, Sample]]) -> dict[int, Result]:
    """What becomes of accepted samples that were retracted while they were on their way: numbers as they were given.

    To be asked after the index accepted them, never before: of two that change it at a time one must see the other.
    """
    asked: dict[str, set[str]] = defaultdict(set)
    for _, sample in accepted:
        asked[sample.dataset_id].add(sample.id)
    reach = await index.retracted(asked) if asked else {}
    late = [(n, each) for n, each in accepted if is_retracted(reach.get(each.dataset_id, {}), each.id, each.revision)]
    rules: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for _, sample in late:
        rules[sample.dataset_id].append((sample.id, sample.revision))
    for dataset_id, mine in rules.items():
        await index.retract(dataset_id, mine)
    return {n: _retraction(each.dataset_id, each.id, each.revision, Reason.RETRACTED) for n, each in late}


def _told(asked: RetractionRequested) -> Emit:
    return _retraction(asked.dataset_id, asked.sample_id, asked.revision, asked.reason)


def _retraction(dataset_id: str, sample_id: str, revision: int, reason: str) -> Emit:
    return Emit((Send(accepted_topic(dataset_id), AcceptedSample(Retraction(dataset_id, sample_id, revision, reason))),))
