"""A writer against a broker that is played: what it asks, in which order, and what it makes of errors."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.record.default_records import DefaultRecordBatch

from headrace.adapters.kafka import transaction_requests as newer
from headrace.adapters.kafka.transaction_dialects import NewerDialect, OlderDialect
from headrace.adapters.wire.envelope import Record
from headrace.runtime.delivery.transactions import TransactionalWriter

IN = TopicPartition("toy.in", 0)
OUT = TopicPartition("toy.out", 0)
NOT_ENOUGH_REPLICAS, NOT_LEADER, DUPLICATE, FENCED, STALE_EPOCH, TOO_LARGE, CONCURRENT = 19, 6, 46, 90, 47, 10, 51
UNNAMED = 117
WRITE, COMMIT_OFFSET, END, ANNOUNCE, ANNOUNCE_GROUP = 0, 28, 26, 24, 25


class Played:
    """A client whose broker answers each kind of request with the next of the codes given for it, and else with success."""

    def __init__(self, **codes: list[int]) -> None:
        self.asked: list[tuple[int, Any]] = []
        self.refreshed = 0
        self.codes = {int(kind.removeprefix("api_")): deque(each) for kind, each in codes.items()}
        self.epoch = 0
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)

    async def _wait_on_metadata(self, _topic: str) -> set[int]:
        return {0}

    async def force_metadata_update(self) -> None:
        self.refreshed += 1

    async def send(self, _node: int, request: Any) -> Any:
        kind = request.API_KEY
        self.asked.append((kind, request))
        waiting = self.codes.get(kind)
        code = waiting.popleft() if waiting else 0
        partition = (OUT.partition, code)
        self.epoch += kind == END
        return SimpleNamespace(
            error_code=code,
            producer_id=7,
            producer_epoch=self.epoch,
            topics=[(OUT.topic, [partition])],
            errors=[("any", [partition])],
        )

    @property
    def kinds(self) -> list[int]:
        return [kind for kind, _ in self.asked]

    def batches(self) -> list[Any]:
        """The headers of the batches that were to be written, in order."""
        requests = [request for kind, request in self.asked if kind == WRITE]
        topics = [request.topics if isinstance(request, newer.ProduceRequest) else request._topics for request in requests]
        return [DefaultRecordBatch(bytearray(part[1])) for each in topics for _, parts, *_ in each for part in parts]


Writing = Callable[..., TransactionalWriter]


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Writing:
    """A started writer that asks this broker, in either dialect."""

    def opened(played: Played, dialect: NewerDialect | OlderDialect) -> TransactionalWriter:
        monkeypatch.setattr("headrace.runtime.delivery.transactions.AIOKafkaClient", lambda **_: played)
        writer = TransactionalWriter("nowhere:1", "svc-toy.in-0", "svc", client_id="svc", timeout_ms=1_000)
        writer._coordinator = writer._group_coordinator = 1
        writer._dialect, writer._producer = dialect, (7, 0)
        return writer

    return opened


def out(*bodies: bytes) -> list[Record]:
    return [Record(OUT.topic, b"key", body, ()) for body in bodies]


async def test_the_newer_dialect_announces_nothing(writing: Writing) -> None:
    """Outputs and offset go out together, the commit once both are written."""
    played = Played()
    await writing(played, NewerDialect()).write(out(b"a"), IN, 1)
    assert sorted(played.kinds[:2]) == [WRITE, COMMIT_OFFSET]
    assert played.kinds[2:] == [END]


async def test_right_behind_a_transaction_the_offset_goes_first(writing: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that still writes the last one's markers says so at once of an offset, and lets a batch lie."""
    played = Played(api_28=[0, CONCURRENT, CONCURRENT])
    monkeypatch.setattr("headrace.runtime.delivery.transactions._SETTLING_S", 60.0)
    writer = writing(played, NewerDialect())
    await writer.write(out(b"a"), IN, 1)
    played.asked.clear()
    await writer.write(out(b"b"), IN, 2)
    assert played.kinds == [COMMIT_OFFSET, COMMIT_OFFSET, COMMIT_OFFSET, WRITE, END]
    played.codes[COMMIT_OFFSET].append(FENCED)
    played.asked.clear()
    with pytest.raises(errors.ProducerFenced):
        await writer.write(out(b"c"), IN, 3)
    assert played.kinds == [COMMIT_OFFSET]


async def test_the_older_dialect_announces_what_it_writes_to_before(writing: Writing) -> None:
    """Partitions and group, and only then the rest; without outputs the group alone."""
    played = Played()
    writer = writing(played, OlderDialect())
    await writer.write(out(b"a"), IN, 1)
    assert sorted(played.kinds[:2]) == [ANNOUNCE, ANNOUNCE_GROUP]
    assert played.kinds[-1] == END
    played.asked.clear()
    await writer.write([], IN, 2)
    assert played.kinds == [ANNOUNCE_GROUP, COMMIT_OFFSET, END]


@pytest.mark.parametrize(("dialect", "sequences"), [(NewerDialect(), [0, 0, 0]), (OlderDialect(), [0, 2, 4])])
async def test_batches_are_numbered_within_an_epoch(
    writing: Writing, dialect: NewerDialect | OlderDialect, sequences: list[int]
) -> None:
    """In the newer dialect each transaction has an epoch of its own, in the older one the writer keeps its one."""
    played = Played()
    writer = writing(played, dialect)
    for offset in range(3):
        await writer.write(out(b"a", b"b"), IN, offset)
    assert [batch.base_sequence for batch in played.batches()] == sequences
    assert [batch.producer_epoch for batch in played.batches()] == ([0, 1, 2] if isinstance(dialect, NewerDialect) else [0, 0, 0])


@pytest.mark.parametrize("code", [NOT_ENOUGH_REPLICAS, NOT_LEADER, CONCURRENT])
async def test_a_write_is_tried_again_while_what_is_in_its_way_passes(writing: Writing, code: int) -> None:
    """With the very same batch, to whoever leads the partition by then; nothing is committed before it is there."""
    played = Played(api_0=[code, code])
    await writing(played, NewerDialect()).write(out(b"a"), IN, 1)
    assert played.kinds.count(WRITE) == 3
    assert {batch.base_sequence for batch in played.batches()} == {0}
    assert played.refreshed == 2
    assert played.kinds[-1] == END


async def test_what_was_written_before_is_written(writing: Writing) -> None:
    """The answer to an earlier try may have been an error all the same."""
    played = Played(api_0=[NOT_ENOUGH_REPLICAS, DUPLICATE])
    await writing(played, NewerDialect()).write(out(b"a"), IN, 1)
    assert played.kinds.count(WRITE) == 2
    assert played.kinds[-1] == END


@pytest.mark.parametrize("kind", [WRITE, COMMIT_OFFSET, END])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (FENCED, errors.ProducerFenced),
        (STALE_EPOCH, errors.ProducerFenced),
        (TOO_LARGE, errors.MessageSizeTooLargeError),
    ],
)
async def test_any_other_error_ends_the_writer(writing: Writing, kind: int, code: int, error: type[Exception]) -> None:
    """Nothing is committed after it; that another writer has come is told apart."""
    played = Played(**{f"api_{kind}": [code]})
    with pytest.raises(error):
        await writing(played, NewerDialect()).write(out(b"a"), IN, 1)
    assert played.kinds.count(END) == (kind == END)


async def test_what_is_refused_is_told_by_name_and_size(writing: Writing) -> None:
    """Which output, and how large: on that depends whose limit has to be raised."""
    played = Played(api_0=[TOO_LARGE])
    with pytest.raises(errors.MessageSizeTooLargeError, match=r"\[Error 10\] .*: 1\d{3} bytes for toy\.out-0"):
        await writing(played, NewerDialect()).write(out(b"x" * 1_000), IN, 1)


@pytest.mark.parametrize(
    ("kind", "asked"), [(WRITE, "toy.out-0"), (COMMIT_OFFSET, "TxnOffsetCommitRequest"), (END, "EndTxnRequest")]
)
async def test_a_code_without_a_name_is_told(writing: Writing, kind: int, asked: str) -> None:
    """Brokers have more errors than aiokafka knows, and a person can look them up."""
    played = Played(**{f"api_{kind}": [UNNAMED]})
    with pytest.raises(errors.UnknownError, match=f"{asked}.* code {UNNAMED}"):
        await writing(played, NewerDialect()).write(out(b"a"), IN, 1)


async def test_a_partition_without_a_leader_is_an_error(writing: Writing) -> None:
    """The next writer asks for the cluster's state anew."""
    played = Played()
    played.cluster = SimpleNamespace(leader_for_partition=lambda _: -1)
    with pytest.raises(errors.LeaderNotAvailableError):
        await writing(played, NewerDialect()).write(out(b"a"), IN, 1)


async def test_a_record_larger_than_a_batch_has_one_of_its_own(writing: Writing) -> None:
    """How large is too large is the broker's to say; those before and after it are not held up by its size."""
    played = Played()
    await writing(played, NewerDialect()).write(out(b"a", b"x" * 1_100_000, b"b"), IN, 1)
    assert [batch.base_sequence for batch in played.batches()] == [0, 1, 2]


def test_the_features_of_a_cluster_are_read_from_the_tags() -> None:
    """As a broker encodes them; without any, a cluster has agreed on nothing."""
    encoded = newer._FEATURES.encode([("metadata.version", 29, 1, {}), ("transaction.version", 2, 0, {})])
    assert newer.ApiVersionsResponse(0, [], 0, {2: encoded}).finalized("transaction.version") == 2
    assert newer.ApiVersionsResponse(0, [], 0, {}).finalized("transaction.version") == 0


def test_a_broker_too_old_to_be_asked_is_not() -> None:
    """Its answer to a version that it does not know could not be read."""
    request = newer.ApiVersionsRequest("headrace", "1", {})
    with pytest.raises(NotImplementedError):
        request.prepare({18: (0, 2)})
    assert request.prepare({18: (0, 3)}) is request
