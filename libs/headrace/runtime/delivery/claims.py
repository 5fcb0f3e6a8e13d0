"""Who may write for an input partition: at any time one writer, and only it can move the partition's offset.

A claim is a partition taken over: its transactional id was fenced (InitProducerId settles the old owner's transaction and
shuts the old owner out), and only then was the committed offset read. The claim is also the token: results are committed
only if the partition's claim is still the one under which its records were read. Anything that goes wrong has one way
out: drop the results, throw the writer away, take the partition over again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ProducerFenced

from headrace.adapters.kafka.fetch_wait import LONG_MS, SHORT_MS, set_fetch_wait
from headrace.adapters.kafka.unreadable import Unreadable
from headrace.adapters.wire.envelope import Record
from headrace.runtime.delivery.transactions import TransactionalWriter
from headrace.runtime.settings import DeliverySettings

_log = logging.getLogger("headrace.delivery")
_TAKE_OVER_S = 30.0
_AGAIN_S_MIN = 0.05
_AGAIN_S_MAX = 5.0


@dataclass(eq=False, slots=True)
class Claim:
    """A partition that is ours, its writer, and the offset up to which everything is committed.

    `due` is when its next record may be handled, by a clock that is never set; 0 where it may be now. `unreadable` says what
    cannot be read there, empty where all can.
    """

    tp: TopicPartition
    writer: TransactionalWriter
    next_offset: int
    due: float = 0.0
    unreadable: str = ""


@dataclass(slots=True)
class _Attempts:
    """How take-overs went: `reset_at` is the committed offset that the broker did not know, `stuck` why the partition is left."""

    failures: int = 0
    task: asyncio.Task[None] | None = None
    reset_at: int | None = None
    stuck: str = ""


class Claims(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka publishes no types
    """The partitions of one consumer, taken over and given up as the group rebalances."""

    def __init__(
        self, group: str, bootstrap: str, settings: DeliverySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._group = group
        self._past = f"stop the service and set the offset of group {group} there (kafka-consumer-groups --reset-offsets)"
        self._bootstrap = bootstrap
        self._settings = settings
        self._clock = clock
        self._claims: dict[TopicPartition, Claim] = {}
        self._take_overs: dict[TopicPartition, _Attempts] = {}
        self._assigned: frozenset[TopicPartition] | None = None
        self._held = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._background: set[asyncio.Task[None]] = set()

    def bind(self, consumer_of: Callable[[], AIOKafkaConsumer]) -> None:
        """Says where the consumer is found once it is there."""
        self._consumer_of = consumer_of

    # What the group tells us

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Heartbeats stop until this returns, and records of an active assignment are handed out meanwhile: so pause, no more."""
        self._consumer_of().pause(*assigned)
        self._assigned = frozenset(assigned)
        for tp in assigned:
            self._take_over(tp)
        self._set_fetch_wait()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002  # rebalances are eager: all go
        """Lets the batch in hand finish, within bounds; then whatever is still in hand is void."""
        self._assigned = None
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%s: the batch in hand outlasts HEADRACE_DELIVERY_DRAIN_S and is dropped", self._group)
        await self._give_up()

    # What the hop asks

    def busy(self) -> bool:
        """Marks a batch as in hand; False where none may be begun because the partitions are on their way to others.

        Nothing is fetched meanwhile: a fetch sent now would return with the first record that comes, and the next batch would
        be that one record instead of all that came in the time of this one.
        """
        if self._assigned is None:
            return False
        self._idle.clear()
        if self._claims:
            self._consumer_of().pause(*self._claims)
        return True

    def idle(self) -> None:
        """No batch is in hand."""
        self._idle.set()
        if self._assigned is not None:
            for claim in self._claims.values():
                if claim.due <= self._clock():  # else it has been arranged for
                    self._resume(claim)
            self._set_fetch_wait()

    def of(self, tp: TopicPartition) -> Claim | None:
        """The partition's claim, None while it is not ours."""
        return self._claims.get(tp)

    async def commit(self, claim: Claim, records: Sequence[Record], offset: int) -> bool:
        """Makes the records and the offset visible together; False where nothing was, and the partition is read again."""
        if self._claims.get(claim.tp) is not claim:
            return False
        try:
            async with asyncio.timeout(self._settings.transaction_timeout_ms / 1000):
                await claim.writer.write(records, claim.tp, offset)
        except TimeoutError:
            self.lose(claim, TimeoutError("a transaction took longer than HEADRACE_DELIVERY_TRANSACTION_TIMEOUT_MS"))
            return False
        except Exception as error:  # noqa: BLE001  # there is one way out, whatever happened
            self.lose(claim, error)
            return False
        claim.next_offset = offset
        claim.unreadable = ""
        if claim.tp in self._take_overs:  # gone where the partition was revoked meanwhile: the results are visible all the same
            self._take_overs[claim.tp].failures = 0
        return True

    def lose(self, claim: Claim, error: BaseException) -> None:
        """Takes the partition over again from the committed offset; what was in hand for it is void."""
        if self._claims.get(claim.tp) is not claim:
            return
        self._drop(claim)
        attempts = self._take_overs[claim.tp]
        attempts.failures += 1
        again_s = min(_AGAIN_S_MAX, _AGAIN_S_MIN * 2.0 ** min(attempts.failures, 16))
        if isinstance(error, ProducerFenced):
            # Someone else took the partition over, or the transaction timed out. Wait until the group would have told us
            # that it is no longer ours, before shutting the other one out.
            again_s = max(again_s, 2 * self._settings.heartbeat_interval_ms / 1000)
        _log.warning(
            "%s: results of %s are dropped, it is read again in %.2f s: %r", self._group, _name(claim.tp), again_s, error
        )
        if self._assigned is not None and claim.tp in self._assigned:
            self._consumer_of().pause(claim.tp)
            self._take_over(claim.tp, again_s)

    def went_back(self, claim: Claim, offset: int) -> None:
        """The client reset the position by itself (OffsetOutOfRange), and to go on would do again what was committed.

        It is read from the committed offset. Where the broker does not know that once more, the partition is left: how much was
        lost, and where to go on, is for people to say.
        """
        attempts = self._take_overs[claim.tp]
        if attempts.reset_at != claim.next_offset:
            attempts.reset_at = claim.next_offset
            self.lose(claim, ValueError(f"read offset {offset} below {claim.next_offset}"))
            return
        attempts.stuck = (
            f"{_name(claim.tp)} is left: offset {claim.next_offset} is committed and the broker's records end before it, so it "
            f"has lost some; {self._past}"
        )
        _log.error("%s: %s", self._group, attempts.stuck)
        self._consumer_of().pause(claim.tp)
        self._drop(claim)

    def rewind(self, claim: Claim) -> None:
        """Goes back to the committed offset without giving the partition up."""
        if self._claims.get(claim.tp) is claim:
            self._consumer_of().seek(claim.tp, claim.next_offset)
            claim.due = 0.0
            self._resume(claim)

    def rewind_all(self) -> None:
        """The same for all partitions that flow: of those that wait nothing was read."""
        for claim in self._claims.values():
            if claim.due <= self._clock():
                self.rewind(claim)

    def refuse(self, error: Unreadable) -> None:
        """Waits before what cannot be read, and tries it again every so often; the other partitions flow meanwhile."""
        claim = self._claims.get(error.tp)
        if claim is None:
            return
        reason = f"{error}, and is tried again; to leave that out, {self._past}"
        if claim.unreadable != reason:
            _log.error("%s: %s", self._group, reason)
        claim.unreadable = reason
        self.delay(claim, claim.next_offset, _AGAIN_S_MAX)

    def delay(self, claim: Claim, offset: int, wait_s: float) -> None:
        """Goes on at this offset after so many seconds; the consumer's other partitions flow meanwhile."""
        consumer = self._consumer_of()
        consumer.pause(claim.tp)
        consumer.seek(claim.tp, offset)
        claim.due = self._clock() + wait_s
        self._resume(claim)

    def hold(self) -> None:
        """Reads nothing any more, on any partition, until `release`. The partitions stay ours."""
        self._held = True
        if self._claims:
            self._consumer_of().pause(*self._claims)

    def release(self) -> None:
        """Reads on."""
        self._held = False
        for claim in self._claims.values():
            self._resume(claim)

    def missing(self) -> str | None:
        """Why not every partition is being read, None when it is."""
        if self._assigned is None:
            return "waits for its partitions"
        troubles = [claim.unreadable for claim in self._claims.values() if claim.unreadable]
        troubles += (attempts.stuck for attempts in self._take_overs.values() if attempts.stuck)
        if troubles:
            return "; ".join(sorted(troubles))
        waiting = sorted(_name(tp) for tp in self._assigned if tp not in self._claims)
        return f"takes over {', '.join(waiting)}" if waiting else None

    async def close(self) -> None:
        """Gives everything up; the consumer may be gone already."""
        self._assigned = None
        await self._give_up()
        await asyncio.gather(*self._background, return_exceptions=True)

    # Taking over and giving up

    def _take_over(self, tp: TopicPartition, after_s: float = 0.0) -> None:
        attempts = self._take_overs.setdefault(tp, _Attempts())
        attempts.task = asyncio.create_task(self._taking_over(tp, attempts, after_s), name=f"take over {_name(tp)}")

    async def _taking_over(self, tp: TopicPartition, attempts: _Attempts, after_s: float) -> None:
        consumer = self._consumer_of()
        while True:
            await asyncio.sleep(after_s)
            writer = self._writer(tp)
            try:
                async with asyncio.timeout(_TAKE_OVER_S):
                    await writer.start()  # InitProducerId: from here on, the old owner can commit nothing
                    offset = await self._committed(consumer, tp)
                break
            except asyncio.CancelledError:
                self._in_background(writer)
                raise
            except Exception as error:  # noqa: BLE001  # until it works, or the partition is no longer ours
                self._in_background(writer)
                attempts.failures += 1
                after_s = min(_AGAIN_S_MAX, _AGAIN_S_MIN * 2.0 ** min(attempts.failures, 16))
                _log.warning("%s: %s cannot be taken over, again in %.2f s: %r", self._group, _name(tp), after_s, error)
        # Without an await from here on: nothing can be read from the old position, and nobody can take the partition away.
        consumer.seek(tp, offset)
        claim = self._claims[tp] = Claim(tp, writer, offset)
        self._resume(claim)

    async def _committed(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        committed: int | None = await consumer.committed(tp)
        if committed is None:
            beginnings: dict[TopicPartition, int] = await consumer.beginning_offsets([tp])
            return beginnings[tp]
        return committed

    def _writer(self, tp: TopicPartition) -> TransactionalWriter:
        return TransactionalWriter(
            self._bootstrap,
            f"{self._group}-{_name(tp)}",
            self._group,
            client_id=f"headrace-{self._group}",
            timeout_ms=self._settings.transaction_timeout_ms,
        )

    def _resume(self, claim: Claim) -> None:
        if self._held or self._claims.get(claim.tp) is not claim:
            return
        wait_s = claim.due - self._clock()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._resume, claim)
        else:
            self._consumer_of().resume(claim.tp)
            self._set_fetch_wait()

    def _set_fetch_wait(self) -> None:
        """Fetches come back soon while some partition is about to be read that is not read now."""
        now, assigned = self._clock(), self._assigned or frozenset()
        left = sum(bool(attempts.stuck) for attempts in self._take_overs.values())
        expected = len(self._claims) + left < len(assigned) or any(claim.due > now for claim in self._claims.values())
        set_fetch_wait(self._consumer_of(), SHORT_MS if expected else LONG_MS)

    def _drop(self, claim: Claim) -> None:
        del self._claims[claim.tp]
        self._in_background(claim.writer)

    async def _give_up(self) -> None:
        for claim in list(self._claims.values()):
            self._drop(claim)
        tasks = [attempts.task for attempts in self._take_overs.values() if attempts.task is not None]
        for task in tasks:
            task.cancel()
        # An InitProducerId still on its way must not overtake that of the next take-over.
        await asyncio.gather(*tasks, return_exceptions=True)
        self._take_overs.clear()

    def _in_background(self, writer: TransactionalWriter) -> None:
        task = asyncio.create_task(writer.close(), name="throw a writer away")
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}-{tp.partition}"
