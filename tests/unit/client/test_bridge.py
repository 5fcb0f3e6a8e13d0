"""From a version to the topic without gap or overlap, whatever the order in which transactions interleave."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client import Accepted, Retracted, row_keys
from headrace.client.bridge import Held
from headrace_protos.sample.v1 import dossier_pb2

PARTITIONS = 3


def rows_of(pairs: Iterable[tuple[str, int]]) -> pa.RecordBatch:
    """Rows of a version with these sample ids and revisions."""
    return pa.RecordBatch.from_pylist(
        [{"sample_id": sample_id, "revision": revision} for sample_id, revision in pairs],
        pa.schema([("sample_id", pa.string()), ("revision", pa.int64())]),
    )


def acceptance(sample_id: str, revision: int) -> Accepted:
    return Accepted(sample_id, revision, dossier_pb2.Dossier())


def test_what_a_version_holds_is_left_out():
    """The same revision and earlier ones; a later revision, and another sample, are new."""
    with Held() as held:
        held.add(rows_of([("a", 2), ("b", 0)]))
        held.add(rows_of([("a", 1)]))
        assert [held.covers(acceptance("a", revision)) for revision in range(4)] == [True, True, True, False]
        assert not held.covers(acceptance("c", 0))


def test_a_retraction_counts_unless_a_later_revision_was_accepted_in_spite_of_it():
    """The version's row may be the very one that is taken back."""
    with Held() as held:
        held.add(rows_of([("a", 2)]))
        assert [held.covers(Retracted("a", revision, "privacy")) for revision in (1, 2, 3)] == [True, False, False]


@dataclass
class Written:
    """A record: when it was stamped, by which transaction."""

    sample: tuple[str, int]
    time: float
    transaction: int


@dataclass
class Admission:
    """Several producers of transactions that write to one decided partition and several accepted ones, in any order."""

    chance: Random
    skews: list[float]
    decided: list[Written] = field(default_factory=list)
    accepted: dict[int, list[Written]] = field(default_factory=lambda: defaultdict(list))
    revisions: dict[str, int] = field(default_factory=dict)
    to_write: dict[int, list[tuple[bool, Written]]] = field(default_factory=dict)
    committed: set[int] = field(default_factory=set)
    began: dict[int, int] = field(default_factory=dict)
    longest: int = 0
    now: int = 0
    transactions: int = 0
    open_of: dict[int, int] = field(default_factory=dict)

    def step(self) -> None:
        """One producer begins, writes one record, or commits."""
        self.now += 1
        producer = self.chance.randrange(len(self.skews))
        transaction = self.open_of.get(producer)
        if transaction is None:
            self._begin(producer)
        elif self.to_write[transaction]:
            is_decided, record = self.to_write[transaction].pop(0)
            (self.decided if is_decided else self.accepted[int(record.sample[0][1:]) % PARTITIONS]).append(record)
        else:
            self.committed.add(transaction)
            del self.open_of[producer]
            self.longest = max(self.longest, self.now - self.began[transaction])
            for record in self.decided:
                if record.transaction == transaction:
                    self.revisions[record.sample[0]] = record.sample[1]

    def _begin(self, producer: int) -> None:
        transaction = self.open_of[producer] = self.transactions
        self.transactions += 1
        self.began[transaction] = self.now
        taken = {record.sample[0] for pairs in self.to_write.values() for _, record in pairs}
        taken |= {record.sample[0] for record in self.decided if record.transaction not in self.committed}
        names = {f"s{self.chance.randrange(12)}" for _ in range(self.chance.randrange(1, 4))} - taken
        time = self.now + self.skews[producer]
        records = [Written((name, self.revisions.get(name, -1) + 1), time, transaction) for name in sorted(names)]
        order = [(is_decided, record) for record in records for is_decided in (True, False)]
        # Each topic gets them in one order, but the topics' requests go their own ways.
        first, second = ([pair for pair in order if pair[0] is side] for side in (True, False))
        merged = []
        while first or second:
            source = first if first and (not second or self.chance.random() < 0.5) else second
            merged.append(source.pop(0))
        self.to_write[transaction] = merged

    def settled(self, log: list[Written]) -> list[Written]:
        """What a reader of committed records sees: up to the first record of an open transaction."""
        end = next((n for n, record in enumerate(log) if record.transaction not in self.committed), len(log))
        return log[:end]

    def finish(self) -> None:
        while self.open_of:
            self.step()


@settings(max_examples=200)
@given(
    chance=st.randoms(use_true_random=False),
    skews=st.lists(st.sampled_from([0.0, 0.0, 0.0, 25.0]), min_size=2, max_size=6),
    before=st.integers(20, 120),
    between=st.integers(0, 60),
    after=st.integers(0, 120),
    assume_clocks=st.booleans(),
)
def test_every_acceptance_reaches_a_subscriber_once(chance, skews, before, between, after, assume_clocks):
    """In the version, replaced by what is in the version, or from the topic: one of the three, wherever reading begins."""
    world = Admission(chance, skews)
    for _ in range(before):
        world.step()
    seen = world.settled(world.decided)
    version = seen[: chance.randrange(len(seen) + 1)]
    rows: dict[str, int] = {}
    for record in version:
        rows[record.sample[0]] = max(record.sample[1], rows.get(record.sample[0], 0))
    for _ in range(between):
        world.step()
    until = {number: len(world.accepted[number]) for number in range(PARTITIONS)}
    ends = {number: len(world.settled(world.accepted[number])) for number in range(PARTITIONS)}
    visible = {number: world.settled(world.accepted[number]) for number in range(PARTITIONS)}
    for _ in range(after):
        world.step()
    world.finish()

    start = dict.fromkeys(range(PARTITIONS), 0)
    if assume_clocks and version:
        since = max(record.time for record in version) - (max(skews) - min(skews)) - world.longest
        for number in range(PARTITIONS):
            found = (n for n, record in enumerate(visible[number]) if record.time >= since)
            start[number] = next(found, ends[number])
    came: list[tuple[str, int]] = []
    with Held() as held:
        held.add(rows_of(rows.items()))
        for number in range(PARTITIONS):
            for offset in range(start[number], len(world.accepted[number])):
                sample = world.accepted[number][offset].sample
                if offset >= until[number] or not held.covers(acceptance(*sample)):
                    came.append(sample)

    in_version = {record.sample for record in version}
    lacking = sorted(record.sample for log in world.accepted.values() for record in log if record.sample not in in_version)
    assert sorted(came) == lacking


def test_many_rows_are_remembered_exactly(monkeypatch: pytest.MonkeyPatch):
    """A hundred thousand rows in several runs, and some that come after the first question."""
    monkeypatch.setattr(row_keys, "_RUN_ROWS", 30_000)
    pairs = [(f"sample-{n:06}", n % 3) for n in range(100_000)]
    with Held() as held:
        for start in range(0, 90_000, 9_000):
            held.add(rows_of(pairs[start : start + 9_000]))
        assert not held.covers(acceptance(*pairs[-1]))
        held.add(rows_of(pairs[90_000:]))
        assert all(held.covers(acceptance(*pair)) for pair in pairs[::997])
        assert not any(held.covers(acceptance(sample_id, revision + 1)) for sample_id, revision in pairs[::997])


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    """A look-up compares the ids themselves."""
    monkeypatch.setattr(row_keys, "hash", lambda _: 7, raising=False)
    with Held() as held:
        held.add(rows_of([("a", 1), ("b", 0), ("c", 2)]))
        assert [held.covers(acceptance(sample_id, 1)) for sample_id in "abcd"] == [True, False, True, False]


@pytest.mark.parametrize("rows", [[], [("a", 0)]])
def test_closing_frees_what_is_held(rows):
    """The same for an empty version."""
    held = Held()
    held.add(rows_of(rows))
    held.close()
    held.close()
