"""Keeps the account of samples by reading the topics: what was submitted, how it ended, what is in flight."""

import contextlib
from collections.abc import AsyncIterator
from typing import Self

from aiokafka import ConsumerRecord

from headrace.adapters import wire
from headrace.adapters.kafka import RecordReader
from headrace.core.dossiers import Dossier, ScoredSample
from headrace.core.ledger import Ledger
from headrace.core.topics import CONSUMERS, DECIDED, SUBMITTED, TOPICS, Topic, dlq_topic_name

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
    async def opened(cls, bootstrap: str) -> AsyncIterator[Self]:
        """Accounts over everything that the topics still retain.

        Raises:
            BrokerUnreachable: the broker does not answer in time, or a topic does not exist.
        """
        topics = [SUBMITTED.name, DECIDED.name, *_DEAD_LETTERS]
        async with RecordReader.opened(bootstrap, topics) as reader:
            yield cls(reader)

    async def catch_up(self) -> Ledger:
        """Reads what was written since the last call, up to the ends of the topics now."""
        async for record in self._reader.until_now():
            self._take(record)
        return self.ledger

    def _take(self, record: ConsumerRecord) -> None:
        if record.topic == SUBMITTED.name:
            dossier = _dossier_in(SUBMITTED, record)
            if dossier is not None:
                self.ledger.submitted(dossier)
        elif record.topic == DECIDED.name:
            dossier = _dossier_in(DECIDED, record)
            if dossier is not None and dossier.decisions:
                self.ledger.decided(dossier)
        else:
            source, group = _DEAD_LETTERS[record.topic]
            dossier = _dossier_in(source, record)
            if dossier is not None:
                self.ledger.dead_lettered(dossier, group)


def _dossier_in(topic: Topic, record: ConsumerRecord) -> Dossier | None:
    """The dossier of a record; None for what nobody could have counted as submitted either."""
    if record.value is None:
        return None
    try:
        body = wire.decode(topic.body, record.value)
    except wire.Undecodable:
        return None
    if isinstance(body, ScoredSample):
        return body.dossier
    return body if isinstance(body, Dossier) else None
