"""From consumed records to events, without ever raising: FastStream swallows an error here and goes on past the record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage

from headrace.adapters.claim_check import BodyReference, LargeBodies, reference_in
from headrace.adapters.wire import events as wire
from headrace.adapters.wire.envelope import event_of, texts_of
from headrace.core.events import Event, Position
from headrace.core.topics import Topic


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record as it was read, and the event in it; None with the reason where it cannot be decoded.

    `reference` is set while its body lies in the object store and was not fetched.
    """

    record: ConsumerRecord
    event: Event[Any] | None
    error: str = ""
    reference: BodyReference | None = None


def decode(topic: Topic, record: ConsumerRecord, body: bytes | None = None) -> Incoming:
    """The record of a topic or of one of its retry topics; `body` is what it refers to, once that was fetched."""
    position = Position(record.topic, record.partition, record.offset)
    try:
        reference = reference_in(body or record.value, record.headers)
        if reference is not None:
            return Incoming(record, None, f"the body lies in the object store, {reference.key}: not fetched here", reference)
        event = event_of(topic, position, record.key, body or record.value, record.timestamp, texts_of(record.headers))
    except wire.Undecodable as error:
        return Incoming(record, None, str(error))
    except Exception as error:  # noqa: BLE001  # whatever the bytes did to the decoder, they must not get past it
        return Incoming(record, None, f"{type(error).__name__}: {error}")
    return Incoming(record, event)


async def redeemed(topic: Topic, incoming: Incoming, large_bodies: LargeBodies) -> Incoming:
    """The same with its body fetched, where that lies in the object store.

    Raises:
        Stop: the store is gone.
    """
    if incoming.reference is None:
        return incoming
    try:
        body = await large_bodies.get(incoming.reference)
    except wire.Undecodable as error:
        return Incoming(incoming.record, None, str(error))
    return decode(topic, incoming.record, body)


async def parse(records: tuple[ConsumerRecord, ...]) -> KafkaMessage:
    """FastStream's own parser decodes every header as UTF-8 and raises where one is not; this one looks at none."""
    return KafkaMessage(raw_message=records, body=b"", correlation_id="-", consumer=FAKE_CONSUMER)


class Codec:
    """FastStream's codec for one subscription: a batch of records to a batch of `Incoming`."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic

    async def decode_batch(self, msg: Any) -> list[Any]:
        return [decode(self._topic, record) for record in msg.raw_message]

    async def decode(self, msg: Any) -> Any:
        raise NotImplementedError("hops read batches")

    async def encode(self, msg: Any, serializer: Any = None) -> tuple[bytes, str | None]:
        raise NotImplementedError("outputs leave through the transaction, never through FastStream")

    async def encode_batch(self, msgs: Sequence[Any], serializer: Any = None) -> list[tuple[bytes, str | None]]:
        raise NotImplementedError("outputs leave through the transaction, never through FastStream")
