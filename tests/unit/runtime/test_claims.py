"""Claims without a broker: what happens in which order when partitions come and go."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, ProducerFenced

from headrace.adapters.kafka.fetch_wait import LONG_MS, SHORT_MS
from headrace.runtime.delivery.claims import Claims
from headrace.runtime.settings import DeliverySettings
from tests.fakes.toy_topics import until

TP = TopicPartition("toy.in", 0)
OTHER = TopicPartition("toy.in", 1)


class FakeConsumer:
    """Notes what is asked of it, in order."""

    def __init__(self, committed: int | None = 5) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._committed = committed
        self._fetcher = SimpleNamespace(_fetch_max_wait_ms=None)

    def pause(self, *partitions: TopicPartition) -> None:
        self.calls.append(("pause", set(partitions)))

    def resume(self, tp: TopicPartition) -> None:
        self.calls.append(("resume", tp))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.calls.append(("seek", (tp, offset)))

    async def committed(self, tp: TopicPartition) -> int | None:
        self.calls.append(("committed", tp))
        return self._committed

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 3)


class FakeWriter:
    """A writer that starts when it is let, or fails to."""

    def __init__(self, setting: "Setting") -> None:
        self._setting = setting

    async def start(self) -> None:
        await self._setting.gate.wait()
        self._setting.consumer.calls.append(("fence", None))
        if self._setting.failures:
            raise self._setting.failures.pop(0)

    async def write(self, *_: Any) -> None:
        error = self._setting.commits.pop(0) if self._setting.commits else None
        if error is not None:
            raise error

    async def close(self) -> None:
        self._setting.thrown_away.append(self)


class Setting:
    """Claims among fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, committed: int | None = 5) -> None:
        self.consumer = FakeConsumer(committed)
        self.gate = asyncio.Event()
        self.failures: list[Exception] = []
        self.thrown_away: list[Any] = []
        self.commits: list[Exception | None] = []
        self.now = 100.0
        settings = DeliverySettings(heartbeat_interval_ms=100, drain_s=0.2)
        self.claims = Claims("svc", "nowhere:1", settings, lambda: self.now)
        self.claims.bind(lambda: self.consumer)
        monkeypatch.setattr(self.claims, "_writer", lambda _: FakeWriter(self))

    async def owned(self) -> Any:
        """The claim of a partition that was just assigned and taken over."""
        self.gate.set()
        await self.claims.on_partitions_assigned({TP})
        await until(lambda: self.claims.of(TP) is not None)
        return self.claims.of(TP)

    @property
    def fetch_wait_ms(self) -> Any:
        return self.consumer._fetcher._fetch_max_wait_ms

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.consumer.calls]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(monkeypatch)


async def test_an_assignment_pauses_at_once_and_waits_for_nothing(setting: Setting) -> None:
    """No heartbeat is sent until the listener returns, and records would be handed out meanwhile (traps 3 and 4)."""
    async with asyncio.timeout(1):
        await setting.claims.on_partitions_assigned({TP, OTHER})
    assert setting.consumer.calls == [("pause", {TP, OTHER})]
    assert setting.claims.of(TP) is None
    assert "takes over" in (setting.claims.missing() or "")
    await setting.claims.close()


async def test_the_offset_is_read_after_the_old_owner_is_fenced(setting: Setting) -> None:
    """What EndTxn answered is readable only behind InitProducerId (trap 2); nothing comes between seek and resume."""
    claim = await setting.owned()
    assert setting.order == ["pause", "fence", "committed", "seek", "resume"]
    assert claim.next_offset == 5
    assert setting.claims.missing() is None
    await setting.claims.close()


async def test_a_group_that_never_committed_begins_at_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error, where `seek_to_committed` would do nothing (trap 6)."""
    setting = Setting(monkeypatch, committed=None)
    assert (await setting.owned()).next_offset == 3
    assert ("seek", (TP, 3)) in setting.consumer.calls
    await setting.claims.close()


async def test_a_failed_take_over_is_tried_again_with_another_writer(setting: Setting) -> None:
    """A broker that is away is waited for; each failed writer is thrown away."""
    setting.failures += [KafkaConnectionError(), KafkaConnectionError()]
    await setting.owned()
    assert setting.order.count("fence") == 3
    assert len(setting.thrown_away) == 2
    await setting.claims.close()


async def test_results_of_an_older_claim_are_dropped(setting: Setting) -> None:
    """The token check: records in hand when the partition went and came back are not committed (trap 8)."""
    old = await setting.owned()
    await setting.claims.on_partitions_revoked({TP})
    new = await setting.owned()
    assert await setting.claims.commit(old, [], 9) is False
    assert await setting.claims.commit(new, [], 9) is True
    assert new.next_offset == 9
    await setting.claims.close()


async def test_a_failed_commit_takes_the_partition_over_again(setting: Setting) -> None:
    """One way out: results dropped, writer thrown away, paused until taken over from the committed offset."""
    claim = await setting.owned()
    setting.commits.append(KafkaConnectionError())
    assert await setting.claims.commit(claim, [], 9) is False
    assert setting.consumer.calls[-1] == ("pause", {TP})
    assert setting.claims.of(TP) is None
    await until(lambda: setting.claims.of(TP) is not None)
    assert setting.order[-4:] == ["fence", "committed", "seek", "resume"]
    await setting.claims.close()


async def test_a_fenced_owner_waits_for_the_group_before_it_fences_again(setting: Setting) -> None:
    """Fenced may mean that the partition is someone else's; after a heartbeat or two the group would have said so (trap 9)."""
    claim = await setting.owned()
    setting.commits.append(ProducerFenced())
    await setting.claims.commit(claim, [], 9)
    await asyncio.sleep(0.1)
    assert setting.order.count("fence") == 1
    await setting.claims.on_partitions_revoked({TP})
    await asyncio.sleep(0.2)
    assert setting.order.count("fence") == 1
    await setting.claims.close()


async def test_a_revocation_waits_for_the_batch_in_hand_within_bounds(setting: Setting) -> None:
    """Drained, then void: whatever the handler still holds is nobody's."""
    await setting.owned()
    assert setting.claims.busy()
    revoking = asyncio.create_task(setting.claims.on_partitions_revoked({TP}))
    await asyncio.sleep(0.05)
    assert setting.claims.of(TP) is not None
    assert not setting.claims.busy()
    await revoking
    assert setting.claims.of(TP) is None
    assert len(setting.thrown_away) == 1
    await setting.claims.close()


async def test_a_delayed_partition_resumes_when_it_is_due_and_not_before(setting: Setting) -> None:
    """Paused at the record that is not due; a timer, not a loop, goes on."""
    claim = await setting.owned()
    setting.claims.delay(claim, 7, 0.1)
    assert setting.consumer.calls[-2:] == [("pause", {TP}), ("seek", (TP, 7))]
    await asyncio.sleep(0.15)
    assert setting.order[-1] == "seek"  # by this clock it is not due yet
    setting.now = 100.2
    await asyncio.sleep(0.15)
    assert setting.consumer.calls[-1] == ("resume", TP)
    await setting.claims.close()


async def test_fetches_come_back_soon_while_a_partition_is_about_to_be_read(setting: Setting) -> None:
    """It is read only when the fetch for the others is back: so while it is taken over, and until it is due."""
    await setting.claims.on_partitions_assigned({TP})
    assert setting.fetch_wait_ms == SHORT_MS
    claim = await setting.owned()
    assert setting.fetch_wait_ms == LONG_MS
    setting.claims.delay(claim, 7, 0.1)
    setting.claims.idle()
    assert setting.fetch_wait_ms == SHORT_MS
    setting.now = 100.2
    setting.claims.idle()
    assert setting.fetch_wait_ms == LONG_MS
    await setting.claims.close()


async def test_while_held_nothing_resumes(setting: Setting) -> None:
    """Held partitions stay ours, and a partition that is taken over meanwhile waits with them."""
    claim = await setting.owned()
    setting.claims.hold()
    setting.claims.lose(claim, KafkaConnectionError())
    await until(lambda: setting.claims.of(TP) is not None)
    assert setting.order[-1] == "seek"
    setting.claims.release()
    assert setting.order[-1] == "resume"
    await setting.claims.close()


async def test_a_partition_that_is_rewound_does_not_wait_for_a_later_record(setting: Setting) -> None:
    """What is due at the committed offset may be read as soon as the dependency is back, whatever lies behind it."""
    claim = await setting.owned()
    setting.claims.busy()
    setting.claims.delay(claim, 6, 30.0)
    setting.claims.hold()
    setting.claims.rewind(claim)
    setting.claims.idle()
    assert setting.consumer.calls[-1] == ("seek", (TP, 5))
    setting.claims.release()
    assert setting.consumer.calls[-1] == ("resume", TP)
    await setting.claims.close()


async def test_partitions_that_wait_are_not_rewound_with_the_others(setting: Setting) -> None:
    """Nothing was read of them that could have been lost."""
    claim = await setting.owned()
    setting.claims.delay(claim, 7, 30.0)
    setting.consumer.calls.clear()
    setting.claims.rewind_all()
    assert setting.consumer.calls == []
    setting.claims.delay(claim, 7, 0.0)
    setting.claims.rewind_all()
    assert setting.consumer.calls[-2:] == [("seek", (TP, 5)), ("resume", TP)]
    await setting.claims.close()


async def test_an_offset_that_the_broker_does_not_know_twice_is_left_to_people(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """It has lost records: from its first one on, work would be done again; from its last one on, some would be left out."""
    setting.claims.went_back(await setting.owned(), 0)
    await until(lambda: setting.claims.of(TP) is not None)
    setting.claims.went_back(setting.claims.of(TP), 0)  # type: ignore[arg-type]  # it was waited for
    setting.consumer.calls.clear()
    setting.claims.idle()
    setting.claims.release()
    await asyncio.sleep(0.3)
    told = setting.claims.missing() or ""
    assert "toy.in-0 is left: offset 5 is committed" in told
    assert "set the offset of group svc" in told
    assert caplog.text.count("is left") == 1
    assert (setting.consumer.calls, setting.fetch_wait_ms) == ([], LONG_MS)
    await setting.claims.on_partitions_revoked({TP})
    await setting.owned()
    assert setting.claims.missing() is None
    await setting.claims.close()


async def test_an_offset_that_the_broker_did_not_know_once_is_read_on_from(setting: Setting) -> None:
    """Each new one may be unknown once: a leader that changed, a reset by hand."""
    for offset in (5, 9):
        claim = await setting.owned()
        await setting.claims.commit(claim, [], offset)
        setting.claims.went_back(claim, 0)
        await until(lambda: setting.claims.of(TP) is not None)
        setting.consumer._committed = 9
    assert setting.claims.missing() is None
    await setting.claims.close()
