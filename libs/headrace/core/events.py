"""What a handler is given and what it returns. Handlers know nothing of Kafka, transactions or protobuf."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from headrace.core.topics import Topic

Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Event(Generic[Body]):
    """One decoded record.

    `id` is the CloudEvents id, a function of the event's inputs: a redelivered record has the same one. `time` is Unix
    seconds. `attempt` counts from 1 and grows when the record comes back through a retry topic. `position` is where this
    very record was read, `origin` where its first copy was when it came back through a retry topic, else None; `headers`
    are the record's remaining text headers. `sent_back` records were among the dead letters before.
    """

    id: str
    topic: str
    key: str
    body: Body
    time: float
    position: Position
    attempt: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    origin: Position | None = None
    sent_back: bool = False

    @property
    def first_position(self) -> Position:
        """Where the record was first read: the same for every attempt at it."""
        return self.origin or self.position


@dataclass(frozen=True, slots=True)
class Send:
    """One event to publish; its key and wire form follow from the topic. `not_before` (Unix seconds) only on delayed topics."""

    topic: Topic
    body: object
    not_before: float | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """The record is done; these events become visible together with its offset."""

    sends: tuple[Send, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """The work could not be done now: try again with back-off, up to the subscription's limit, then the dead letters."""

    error_class: str
    error: str


@dataclass(frozen=True, slots=True)
class Reject:
    """The record can never be processed: it goes to the dead letters with its bytes and this error.

    `parked` says that this is an outcome of the record's own, told by a healthy service: however many there are, they do not
    stop the consumer, as too many faults do.
    """

    error_class: str
    error: str
    parked: bool = False


Result = Emit | Retry | Reject


def no_policy(dataset_id: str) -> Retry:
    """What becomes of an event whose dataset has no policy: it may be about to get one."""
    return Retry("no_policy", f"there is no dataset {dataset_id}: `headrace dataset create {dataset_id}` makes it")


class Stop(Exception):
    """A dependency is gone: nothing is wrong with any record. The consumer keeps its place and waits until it is back."""


Handler = Callable[[Sequence[Event[Body]]], Awaitable[Sequence[Result]]]
"""Takes a batch in order and returns one result for each event, in the same order. Safe to run twice."""
