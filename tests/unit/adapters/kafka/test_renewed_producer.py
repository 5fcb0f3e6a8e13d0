"""What becomes of a producer whose write failed, and of those who go on writing."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, LeaderNotAvailableError, ProducerClosed

from headrace.adapters.kafka import renewed_producer
from headrace.adapters.kafka.renewed_producer import RenewedProducer
from headrace.adapters.kafka.unreachable import BrokerUnreachable
from headrace.adapters.wire.envelope import Record

RECORD = Record("t", b"k", b"v", ())
APART_S = 0.1


class Played:
    """A producer whose writes are settled by the test; `full` holds writers back until it is stopped."""

    def __init__(self) -> None:
        self.writes: list[asyncio.Future[str]] = []
        self.full = False
        self.closed = asyncio.Event()
        self.stopped = False

    async def send(self, *_: Any, **__: Any) -> "asyncio.Future[str]":
        if self.full:
            await self.closed.wait()
        if self.closed.is_set():
            raise ProducerClosed
        self.writes.append(asyncio.get_running_loop().create_future())
        return self.writes[-1]

    async def stop(self) -> None:
        self.closed.set()
        if self.writes:
            await asyncio.wait(self.writes)
        self.stopped = True

    def fail(self, *numbers: int) -> None:
        for number in numbers:
            self.writes[number].set_exception(LeaderNotAvailableError())
            self.writes[number].exception()  # looked at, as writers do


class Makes:
    """Makes played producers, and knows when; the next `absent` times the broker is gone."""

    def __init__(self) -> None:
        self.played: list[Played] = []
        self.made_at: list[float] = []
        self.absent = 0

    async def __call__(self) -> AIOKafkaProducer:
        self.made_at.append(asyncio.get_running_loop().time())
        if self.absent:
            self.absent -= 1
            raise BrokerUnreachable("gone")
        self.played.append(Played())
        return cast("AIOKafkaProducer", self.played[-1])


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Makes:
    monkeypatch.setattr(renewed_producer, "_RENEWED_S_MIN", APART_S)
    return Makes()


async def test_behind_a_failed_write_a_fresh_producer_takes_the_next(make: Makes) -> None:
    """The failed one is told to its writer, and who writes then does not meet the gap that it left."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    failed = await producer.send(RECORD)
    asyncio.get_running_loop().call_soon(make.played[0].fail, 0)
    with pytest.raises(LeaderNotAvailableError):
        await failed
    await producer.send(RECORD)
    assert [len(played.writes) for played in make.played] == [1, 1]
    assert make.played[0].stopped


async def test_what_was_under_way_is_still_written(make: Makes) -> None:
    """The old producer is stopped only once its writes are settled, and stopping waits for that."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    first, second = await producer.send(RECORD), await producer.send(RECORD)
    make.played[0].fail(0)
    await asyncio.wait((first,))
    stopping = asyncio.create_task(producer.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    make.played[0].writes[1].set_result(cast("Any", "written"))
    await stopping
    assert second.result() == cast("Any", "written")


async def test_many_failures_of_one_producer_make_one_fresh_one(make: Makes) -> None:
    """And failures of one that is replaced already make none."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    for _ in range(100):
        await producer.send(RECORD)
    make.played[0].fail(*range(50))
    await producer.send(RECORD)
    make.played[0].fail(*range(50, 100))
    await asyncio.sleep(3 * APART_S)
    assert len(make.played) == 2


async def test_producers_that_fail_one_after_the_other_are_made_apart(make: Makes) -> None:
    """A client that goes on sending what the broker refuses does not make the door ask for an id each time."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    for number in range(4):
        await asyncio.gather(*(producer.send(RECORD) for _ in range(3)))
        make.played[number].fail(0, 1, 2)
        await asyncio.sleep(0)
    await producer.send(RECORD)
    apart = [later - sooner for sooner, later in zip(make.made_at[1:], make.made_at[2:], strict=False)]
    assert len(apart) == 3
    assert min(apart) > 0.9 * APART_S


async def test_without_a_fresh_producer_writes_and_pings_fail_until_there_is_one(make: Makes) -> None:
    """One is made as soon as the broker gives an id again, though nobody writes: an unready service is sent nothing."""
    producer = RenewedProducer(make, wait_s=0.5 * APART_S)
    await producer.start()
    await producer.send(RECORD)
    make.absent = 2
    make.played[0].fail(0)
    await asyncio.sleep(0)
    with pytest.raises(KafkaConnectionError):
        await producer.send(RECORD)
    with pytest.raises(KafkaConnectionError):
        await producer.current()
    await asyncio.sleep(3 * APART_S)
    assert await producer.current() is cast("Any", make.played[1])


async def test_who_waits_for_a_full_queue_is_served_by_the_fresh_producer(make: Makes) -> None:
    """The old one closes its queue before it has taken the record."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    await producer.send(RECORD)
    make.played[0].full = True
    waiting = asyncio.create_task(producer.send(RECORD))
    await asyncio.sleep(0.01)
    make.played[0].fail(0)
    await waiting
    assert len(make.played[1].writes) == 1


async def test_a_write_that_its_writer_gave_up_is_no_failure(make: Makes) -> None:
    """Kafka may have it all the same, and the producer goes on."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    (await producer.send(RECORD)).cancel()
    await producer.send(RECORD)
    assert len(make.played) == 1


async def test_stopped_it_makes_no_more_producers(make: Makes) -> None:
    """Neither the one that was being made, nor for what fails afterwards; whoever writes is told."""
    producer = RenewedProducer(make, wait_s=5)
    await producer.start()
    await producer.send(RECORD)
    make.absent = 1
    make.played[0].fail(0)
    await asyncio.sleep(0.5 * APART_S)
    await producer.stop()
    await asyncio.sleep(2 * APART_S)
    assert len(make.played) == 1
    with pytest.raises(RuntimeError):
        await producer.send(RECORD)
