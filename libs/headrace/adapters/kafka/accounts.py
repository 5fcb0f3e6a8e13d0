"""Keeps the account of samples by reading the topics: what was submitted, how it ended, what is in flight."""

import contextlib
from collections.abc import AsyncIterator
from typing import Self

from aiokafka import ConsumerRecord

from headrace.adapters.claim_check import LargeBodies, no_large_bodies
from headrace.adapters.kafka.streams import START_S, RecordReader
from headrace.adapters.wire import events as wire
from headrace.adapters.wire.envelope import is_letter, texts_of
from headrace.core.dossiers import Dossier, ScoredSample
from headrace.core.ledger import Ledger
from headrace.core.retractions import RetractionRequested
from headrace.core.topics import CONSUMERS, DECIDED, RETRACTION_REQUESTED, SUBMITTED, TOPICS, Topic, dlq_topic_name

_BODIES = {topic.name: topic for topic in TOPICS if topic.body in {Dossier, ScoredSample}}
_DEAD_LETTERS: dict[str, tuple[Topic, str]] = {
    dlq_topic_name(name, group): (_BODIES[name], group)
    for name, groups in CONSUMERS.items()
    for group in groups
    if name in _BODIES and name != DECIDED.name  # a decided sample has ended, whatever happens to the record later
}


class Accounts:
    """A ledger fed from the topics. `catch_up()` reads to where they end now."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader
        self.ledger = Ledger()

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, bootstrap: str, large_bodies: LargeBodies | None = None, *, start_s: float = START_S
    ) -> AsyncIterator[Self]:
        """Accounts over everything that the topics still retain; a sample with a large body counts like any other.

        Without `large_bodies`, the first such sample is Stop: an account that leaves samples out would lie.

        Raises:
            BrokerUnreachable: the broker does not answer within `start_s` seconds, or a topic does not exist.
        """
        topics = [SUBMITTED.name, DECIDED.name, RETRACTION_REQUESTED.name, *_DEAD_LETTERS]
        bodies = large_bodies or no_large_bodies()
        async with RecordReader.opened(bootstrap, topics, start_s=start_s, large_bodies=bodies) as reader:
            yield cls(reader)

    async def catch_up(self) -> Ledger:
        """Reads what was written since the last call, up to the ends of the topics now.

        Raises:
            Stop: a large body lies in the object store, and that is gone or not set; the next call goes on from there.
        """
        async for record in self._reader.until_now():
            self._take(record)
        return self.ledger

    def _take(self, record: ConsumerRecord) -> None:
        if record.topic == SUBMITTED.name:
            dossier = wire.dossier_in(SUBMITTED.body, record.value)
            if dossier is not None:
                self.ledger.submitted(dossier)
        elif record.topic == DECIDED.name:
            dossier = wire.dossier_in(DECIDED.body, record.value)
            if dossier is not None and dossier.decisions:
                self.ledger.decided(dossier)
        elif record.topic == RETRACTION_REQUESTED.name:
            with contextlib.suppress(wire.Undecodable):
                self.ledger.retracted(wire.decode(RetractionRequested, record.value or b""))
        else:
            source, group = _DEAD_LETTERS[record.topic]
            if not is_letter(texts_of(record.headers)):
                return
            dossier = wire.dossier_in(source.body, record.value)
            if dossier is not None:
                self.ledger.dead_lettered(dossier, group)
