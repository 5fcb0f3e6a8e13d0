"""How long samples were on their way through each stage: from the times of their events, which cost the path nothing."""

from collections.abc import Iterable
from itertools import pairwise

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka.streams import RecordReader, decoded
from headrace.core.dossiers import Dossier, ScoredSample
from headrace.core.events import Event
from headrace.core.ledger import Identity, identity_of
from headrace.core.topics import DECIDED, PLACED, PRODUCERS, SCORED, SUBMITTED, VALIDATED, VALIDATION_REQUESTED

WHOLE_WAY = "submitted to decided"

_PATH = {topic.name: topic for topic in (SUBMITTED, SCORED, PLACED, VALIDATION_REQUESTED, VALIDATED, DECIDED)}
_ORDER = {name: place for place, name in enumerate(_PATH)}


async def read_passages(kafka: str, dataset_id: str, large_bodies: LargeBodies) -> dict[str, list[float]]:
    """`seconds_by_stage` of what the topics hold now.

    Raises:
        BrokerUnreachable: the broker does not answer in time, or a topic does not exist.
        Stop: a body lies in the object store, which is gone.
    """
    async with RecordReader.opened(kafka, list(_PATH), large_bodies=large_bodies) as reader:
        events = [decoded(_PATH[record.topic], record) async for record in reader.until_now()]
    return seconds_by_stage((event for event in events if event is not None), dataset_id)


def seconds_by_stage(events: Iterable[Event[Dossier | ScoredSample]], dataset_id: str) -> dict[str, list[float]]:
    """For each stage, in the order of the path, the seconds that each sample spent on the way through it; then the whole way.

    An event's time is when the service that wrote it had done its work. From the event before it, that is the service's work
    and all waiting for it: in the topic, for a batch, on hold behind a similar sample. What admission takes before the checks and
    after them is one. A sample that is submitted twice passes twice; of one whose end is not among the events, what is.
    """
    submissions: dict[tuple[Identity, float], list[tuple[float, int, str]]] = {}
    for event in events:
        dossier = event.body.dossier if isinstance(event.body, ScoredSample) else event.body
        if dossier.sample.dataset_id == dataset_id:
            moments = submissions.setdefault((identity_of(dossier), dossier.submitted_at), [])
            moments.append((event.time, _ORDER[event.topic], event.topic))
    stages = dict.fromkeys(PRODUCERS[name][0] for name in _PATH if name != SUBMITTED.name)
    passages = [_passage(sorted(moments)) for moments in submissions.values()]
    return {stage: [passage[stage] for passage in passages if stage in passage] for stage in (*stages, WHOLE_WAY)}


def _passage(moments: list[tuple[float, int, str]]) -> dict[str, float]:
    """One sample's seconds by stage, from its events in the order of their times."""
    passage: dict[str, float] = {}
    for (before, _, _), (after, _, topic) in pairwise(moments):
        stage = PRODUCERS[topic][0]
        passage[stage] = passage.get(stage, 0.0) + after - before
    (first, _, first_topic), (last, _, last_topic) = moments[0], moments[-1]
    if (first_topic, last_topic) == (SUBMITTED.name, DECIDED.name):
        passage[WHOLE_WAY] = last - first
    return passage
