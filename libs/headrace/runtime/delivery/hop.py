"""One subscription, running: FastStream reads batches, the handler works on them, claims commit them by partition."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka import mend as kafka_mend  # noqa: F401  # before the first consumer: claims read committed offsets
from headrace.adapters.kafka.streams import bootstrap_list
from headrace.adapters.wire.envelope import not_before_of
from headrace.core.events import Emit, Event, Reject, Result, Retry, Stop
from headrace.core.topics import consumer_group_id, retry_topic_name
from headrace.runtime.delivery.batch_size import BatchSize
from headrace.runtime.delivery.claims import Claim, Claims
from headrace.runtime.delivery.incoming import Codec, Incoming, parse, redeemed
from headrace.runtime.delivery.reading import Reading
from headrace.runtime.delivery.routing import UNDECODABLE, DeadLetterLimit, Routed, Router
from headrace.runtime.observer import BatchOutcome, DeliveryObserver, NoObserver
from headrace.runtime.service import Ping, Subscription
from headrace.runtime.settings import DeliverySettings

_log = logging.getLogger("headrace.delivery")
_faststream_log = _log.getChild("faststream")
_faststream_log.setLevel(logging.ERROR)  # it warns at every start that topics are not created by itself
_DEPENDENCY_WAIT_S_MIN = 0.25
_LEAVE_S = 5.0
_CLOCKS_APART_S = 60.0
"""Further apart than that two hosts' clocks are not, unless one of them was set."""


def client_id_of(group: str, instance: str) -> str:
    """The name under which a service's members appear in Kafka's groups."""
    return f"headrace-{group}@{instance}" if instance else f"headrace-{group}"


@dataclass(slots=True)
class _Lane:
    """One partition's part of a batch."""

    claim: Claim
    incoming: list[Incoming]
    routed: Routed = field(default_factory=Routed)

    @property
    def next_offset(self) -> int:
        offset: int = self.incoming[-1].record.offset
        return offset + 1


class Hop:
    """Reads one topic (and its retries) exactly once for one group.

    `ping` is asked while a handler says Stop: the hop reads on once it returns. `large_bodies` is where bodies go, and
    are fetched from, that are too large for a record.
    """

    def __init__(
        self,
        subscription: Subscription,
        bootstrap: str,
        settings: DeliverySettings,
        *,
        observer: DeliveryObserver | None = None,
        ping: Ping | None = None,
        large_bodies: LargeBodies | None = None,
        graceful_stop_s: float = 10.0,
        instance: str = "",
    ) -> None:
        topic, group = subscription.topic, subscription.group
        self.group_id = consumer_group_id(topic.name, group)
        self.client_id = client_id_of(group, instance)
        self.name = f"{group} on {topic.name}"
        self._subscription = subscription
        self._settings = settings
        self._observer = observer or NoObserver()
        self._ping = ping
        self._graceful_stop_s = graceful_stop_s
        self._clock = subscription.clock
        self._large_bodies = large_bodies
        self._follows = large_bodies is not None and subscription.trusted
        records_max = subscription.batch_records_max
        self._batch_size = BatchSize(subscription.batch_records_min or records_max, records_max, settings.batch_s_aim)
        self._router = Router(topic.name, group, settings, claims=large_bodies is not None and large_bodies.configured)
        share_max = settings.dead_letters_share_max if subscription.trusted else 1.0  # more than all of them are never dead
        self._dead_letters = DeadLetterLimit(share_max, settings.dead_letters_window)
        self._claims = Claims(self.group_id, bootstrap, settings)
        self._reading = Reading(self._claims, self._batch_size)
        self._halted: str | None = None
        self._stopped: str | None = None
        self._stops = 0
        self._waiting: asyncio.Task[None] | None = None
        self._broker = KafkaBroker(
            bootstrap_list(bootstrap),  # a comma-joined string would be taken for one host
            client_id=self.client_id,
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=graceful_stop_s,
            logger=_faststream_log,
        )
        self._subscriber = self._subscribe()
        self._claims.bind(self._consumer)

    async def start(self) -> None:
        """Joins the group; records flow as partitions are taken over.

        Raises:
            KafkaError: the broker does not answer, or a topic does not exist.
        """
        await self._broker.start()

    async def stop(self) -> None:
        """Finishes the batch in hand within the graceful stop, or drops it whole; then leaves the group."""
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            async with asyncio.timeout(self._graceful_stop_s + _LEAVE_S):
                await self._broker.stop()
        except TimeoutError:
            _log.warning("%s: the broker does not answer, so the group is left without a word", self.name)
        await self._claims.close()

    def unready(self) -> str | None:
        """Why the hop is not doing its work, None when it is."""
        if all(task.done() for task in self._subscriber.tasks):
            return "does not read: its loop has not begun, or has ended"
        return self._halted or self._stopped or self._reading.trouble or self._claims.missing()

    def _subscribe(self) -> Any:
        topic, settings = self._subscription.topic, self._settings
        subscriber = self._broker.subscriber(
            topic.name,
            retry_topic_name(topic.name, self._subscription.group),
            batch=True,
            group_id=self.group_id,
            listener=self._claims,
            ack_policy=AckPolicy.MANUAL,  # switches auto-commit off; ack() is never called
            no_reply=True,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_bytes=settings.batch_bytes_max,
            max_partition_fetch_bytes=settings.batch_bytes_max,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            rebalance_timeout_ms=settings.rebalance_timeout_ms,
            max_poll_interval_ms=int(settings.handler_s_max * 1000),
            parser=parse,
            codec=Codec(topic),
        )
        subscriber(self._deliver)
        # Its own sleeps half of the time and polls fifty times a second.
        subscriber.get_msg = self._reading.next_batch  # type: ignore[method-assign]  # there is no option for it
        return subscriber

    def _consumer(self) -> AIOKafkaConsumer:
        return self._subscriber.consumer

    async def _deliver(self, batch: list[Incoming]) -> None:
        """Never raises: FastStream would swallow it and go on past the batch.

        Between the poll that returned the batch and this point nothing awaits anything real, so the claims found here are
        those under which the records were read.
        """
        if not self._claims.busy():
            return
        next_s = time.monotonic() + self._settings.batch_s_min
        try:
            lanes = self._lanes(batch)
            if lanes and await self._whole(lanes):
                if self._subscription.gapless:
                    self._part(lanes)
                await self._work(lanes)
            await asyncio.sleep(next_s - time.monotonic())
        except BaseException as error:
            self._drop(batch, error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._claims.idle()

    def _drop(self, batch: Sequence[Incoming], error: BaseException) -> None:
        """The position is past the batch already: a partition that kept its claim would commit past it."""
        _log.error("%s: a batch is dropped and read again", self.name, exc_info=error)
        for incoming in batch:
            claim = self._claims.of(TopicPartition(incoming.record.topic, incoming.record.partition))
            if claim is not None:
                self._claims.lose(claim, error)

    def _lanes(self, batch: Sequence[Incoming]) -> list[_Lane]:
        by_partition: dict[TopicPartition, list[Incoming]] = defaultdict(list)
        for incoming in batch:
            by_partition[TopicPartition(incoming.record.topic, incoming.record.partition)].append(incoming)
        lanes = []
        for tp, records in by_partition.items():
            claim = self._claims.of(tp)
            if claim is None:
                continue  # on its way to someone else, or being taken over: whoever has it next reads these again
            if records[0].record.offset < claim.next_offset:
                self._claims.went_back(claim, records[0].record.offset)
                continue
            due = self._affordable(claim, self._due(claim, records))
            if due:
                lanes.append(_Lane(claim, due))
        return lanes

    def _due(self, claim: Claim, records: list[Incoming]) -> list[Incoming]:
        """The records that may be handled now; at the first that may not the partition pauses until it may.

        A wait longer than any that is asked for says that a clock was set back, and is none.
        """
        if records[0].record.topic == self._subscription.topic.name and not self._subscription.topic.delayed:
            return records
        now = self._clock()
        wait_s_max = self._wait_s_max(records[0].record.topic)
        for index, incoming in enumerate(records):
            wait_s = not_before_of(incoming.record.headers) - now
            if 0 < wait_s <= wait_s_max:
                self._claims.delay(claim, incoming.record.offset, wait_s)
                return records[:index]
        return records

    def _wait_s_max(self, topic: str) -> float:
        asked_s_max = self._subscription.delay_s_max if topic == self._subscription.topic.name else self._settings.retry_s_max
        return asked_s_max + _CLOCKS_APART_S

    def _affordable(self, claim: Claim, records: list[Incoming]) -> list[Incoming]:
        """As many records as have bodies in the object store that fit into memory together; the others are read again."""
        if not self._follows:
            return records
        size = 0
        for index, incoming in enumerate(records):
            if incoming.reference is not None:
                if size and size + incoming.reference.size_bytes > self._settings.batch_bytes_max:
                    self._claims.delay(claim, incoming.record.offset, 0.0)
                    return records[:index]
                size += incoming.reference.size_bytes
        return records

    async def _whole(self, lanes: Sequence[_Lane]) -> bool:
        """Fetches the bodies that lie in the object store; False where it is gone, and the hop waits for it.

        What strangers write cannot refer to anything in the store.
        """
        if self._large_bodies is None or not self._follows:
            return True
        try:
            for lane in lanes:
                if any(incoming.reference is not None for incoming in lane.incoming):
                    fetches = (redeemed(self._subscription.topic, each, self._large_bodies) for each in lane.incoming)
                    lane.incoming = await asyncio.gather(*fetches)
        except Stop as stop:
            self._stop_for(str(stop), lanes)
            return False
        return True

    def _part(self, lanes: Sequence[_Lane]) -> None:
        """Leaves of each partition what can be decoded before what cannot, or the other way about; the rest is read again."""
        for lane in lanes:
            first, *others = ((incoming.event is None) for incoming in lane.incoming)
            count = next((index for index, lacks in enumerate(others, 1) if lacks is not first), len(lane.incoming))
            if count < len(lane.incoming):
                self._claims.delay(lane.claim, lane.incoming[count].record.offset, 0.0)
                lane.incoming = lane.incoming[:count]

    async def _stored(self, lanes: Sequence[_Lane]) -> bool:
        """Stores the outputs' large bodies; False where the object store is gone, and the hop waits for it."""
        bodies = {key: body for lane in lanes for key, body in lane.routed.bodies.items()}
        try:
            if bodies and self._large_bodies is not None:
                await self._large_bodies.put(bodies)
        except Stop as stop:
            self._stop_for(str(stop), lanes)
            return False
        return True

    async def _work(self, lanes: Sequence[_Lane]) -> None:
        events = [incoming.event for lane in lanes for incoming in lane.incoming if incoming.event is not None]
        observation = self._observer.batch_started(self._subscription.group, self._subscription.topic.name, events)
        began = self._clock()
        handled = began
        committed: list[bool] = [False] * len(lanes)
        try:
            try:
                results = await self._results(events) if events else []
            except Stop as stop:
                self._stop_for(str(stop), lanes)
                return
            handled = self._clock()
            by_event = {id(event): result for event, result in zip(events, results, strict=True)}
            for lane in lanes:
                for incoming in lane.incoming:
                    event = incoming.event
                    result = Reject(UNDECODABLE, incoming.error) if event is None else by_event[id(event)]
                    trace: Mapping[str, str] = {} if event is None else observation.trace_of(event)
                    self._router.add(lane.routed, incoming, result, trace, handled)
            if self._dead_letters.exceeded_by(fault for lane in lanes for fault in lane.routed.faults):
                self._halt(lanes)
                return
            if not await self._stored(lanes):
                return
            committed = await asyncio.gather(
                *(self._claims.commit(lane.claim, lane.routed.records, lane.next_offset) for lane in lanes)
            )
            self._batch_size.took(sum(len(lane.incoming) for lane in lanes), self._clock() - began)
            self._ended([lane.routed for lane, visible in zip(lanes, committed, strict=True) if visible])
        finally:
            observation.finished(self._outcome(lanes, committed, handled - began, self._clock() - handled))

    async def _results(self, events: Sequence[Event[Any]]) -> Sequence[Result]:
        """The handler's results. When it fails on a batch, halves are tried, down to the events that are guilty."""
        try:
            results = await self._subscription.handler(events)
            if len(results) != len(events):
                raise TypeError(f"{len(results)} results for {len(events)} events")  # noqa: TRY301  # as if the handler had
        except Stop:
            raise
        except Exception as error:  # noqa: BLE001  # a handler may raise whatever it likes; its events end somewhere
            if len(events) > 1:
                middle = len(events) // 2
                return [*await self._results(events[:middle]), *await self._results(events[middle:])]
            _log.warning("%s: the handler failed on event %s", self.name, events[0].id, exc_info=error)
            return [Retry(type(error).__name__, str(error))]
        return results

    def _ended(self, routed: Sequence[Routed]) -> None:
        self._stops = 0
        errors: Counter[str] = Counter()
        for each in routed:
            self._dead_letters.add(each.faults)
            errors.update(each.errors)
        if errors:
            _log.warning("%s: %d dead letters: %s", self.name, errors.total(), dict(errors))

    def _halt(self, lanes: Sequence[_Lane]) -> None:
        self._halted = (
            f"more than {self._settings.dead_letters_share_max:.0%} of the latest {self._settings.dead_letters_window} records "
            "would be dead letters (HEADRACE_DELIVERY_DEAD_LETTERS_SHARE_MAX): reads nothing until restarted"
        )
        errors = sum((lane.routed.errors for lane in lanes), Counter[str]())
        _log.error("%s: %s. The latest errors: %s", self.name, self._halted, dict(errors))
        self._claims.hold()
        for lane in lanes:
            self._claims.rewind(lane.claim)

    def _stop_for(self, reason: str, lanes: Sequence[_Lane]) -> None:
        """Keeps the place, not the batch: nothing is in hand while the dependency is gone, so the group goes on as ever."""
        self._stopped = f"waits for a dependency: {reason}"
        _log.warning("%s: %s", self.name, self._stopped)
        self._claims.hold()
        for lane in lanes:
            self._claims.rewind(lane.claim)
        self._waiting = asyncio.create_task(self._wait(), name=f"{self.name} waits")

    async def _wait(self) -> None:
        while True:
            await asyncio.sleep(min(self._settings.dependency_wait_s_max, _DEPENDENCY_WAIT_S_MIN * 2.0 ** min(self._stops, 16)))
            self._stops += 1
            try:
                if self._ping is not None:
                    async with asyncio.timeout(self._settings.dependency_wait_s_max):
                        await self._ping()
            except Exception as error:  # noqa: BLE001  # whatever it is, the dependency is not back
                self._stopped = f"waits for a dependency: {error!r}"
            else:
                self._stopped = None
                self._claims.release()
                return

    @staticmethod
    def _outcome(lanes: Sequence[_Lane], committed: Sequence[bool], handler_s: float, commit_s: float) -> BatchOutcome:
        visible = [lane.routed for lane, is_visible in zip(lanes, committed, strict=True) if is_visible]
        return BatchOutcome(
            done=sum(routed.ended_as(Emit) for routed in visible),
            retried=sum(routed.ended_as(Retry) for routed in visible),
            rejected=sum(sum(routed.dead) for routed in visible),
            dropped=sum(len(lane.incoming) for lane, is_visible in zip(lanes, committed, strict=True) if not is_visible),
            emitted=sum((routed.emitted for routed in visible), Counter[str]()),
            handler_s=handler_s,
            commit_s=commit_s,
            settled=[ended for routed in visible for ended in routed.settled],
        )
