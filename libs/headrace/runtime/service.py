"""What a service is to the runtime: its subscriptions, its dependencies' pings, nothing else."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core.events import Handler
from headrace.core.topics import Topic

Ping = Callable[[], Awaitable[None]]
"""Returns when the dependency answers; raises when it does not."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic read exactly once by one group.

    `batch_records_max` bounds the records given to the handler at a time (all partitions together). Where `batch_records_min`
    is given, it begins with so many, and takes more as long as that is quick. Where strangers write the topic, `trusted` is
    False: many dead letters then say something about them and nothing about a bad deploy, and do not stop the consumer. `clock`
    tells by Unix seconds when delayed records are due; it is the clock of whoever wrote `Send.not_before`, and `delay_s_max` the
    longest wait that those ask for: what is due much later than that was written before a clock was set back, and is due now.
    Where the handler keeps what it is given by ranges of offsets, `gapless` is True: no batch then spans a record that cannot be
    decoded, and that a later release could decode which is given the same records again.
    """

    topic: Topic
    group: str
    handler: Handler[Any]
    batch_records_max: int = 256
    batch_records_min: int | None = None
    trusted: bool = True
    clock: Callable[[], float] = time.time
    delay_s_max: float = 0.0
    gapless: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A service ready to run; `services/<name>/app.py` is the only place that builds one."""

    name: str
    subscriptions: tuple[Subscription, ...]
    pings: Mapping[str, Ping] = field(default_factory=dict)
