"""Reading again what a trainer read of a version, and saying what of it is no longer there."""

from collections.abc import Callable, Iterator
from itertools import compress
from typing import TYPE_CHECKING, Protocol, Self

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.versions.gaps import pruned_before
from headrace.adapters.versions.store import VersionStore
from headrace.client.accepted_topic import AcceptedTopic
from headrace.client.bridge import Held
from headrace.client.limits import SubscribeLimits
from headrace.core.checkpoints import TrainingData, VersionPart
from headrace.core.ports.object_store import ObjectStore
from headrace.core.sharing import Slice, slices_of
from headrace.core.topics import accepted_topic
from headrace.core.version_gaps import CutShard
from headrace.core.versions import DamagedVersion, RowKind

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("sample_id", "revision", "prompt_hash")
_NOT_EXACT = (
    "; an earlier release did not keep which rows of a shard it removed: what was read in part of one may be off by as many rows"
)


class Accept(Protocol):
    """Takes an accepted sample in; `read` is whether the trainer read it."""

    def __call__(self, sample_id: str, revision: int, prompt_hash: str, *, read: bool = True) -> None: ...


class ReadVersion:
    """The version that a trainer began with: its rows as they were read, and which samples it holds."""

    def __init__(self) -> None:
        self._held = Held()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def holds(self, sample_id: str, revision: int) -> bool:
        """Whether it holds this revision of a sample or a later one; False where its keys were not read."""
        return self._held.has(sample_id, revision)

    async def read(
        self, objects: ObjectStore, data: TrainingData, accept: Accept, tell: Callable[[str], None], *, keys: bool
    ) -> None:
        """Hands on the rows that were read; with `keys` all of the version's keys are kept for `holds`."""
        versions = VersionStore(objects)
        try:
            manifest = await versions.manifest(data.dataset_id, data.version)
            shards = await versions.shards_as_cut(data.dataset_id, data.version, RowKind.ACCEPTED)
        except DamagedVersion:
            before = await pruned_before(objects, data.dataset_id)
            if before == 1:
                raise
            tell(f"version {data.version[:12]} was pruned, as all below number {before}: its rows are not listed")
            return
        if forgotten := manifest.forgotten.get(RowKind.ACCEPTED, 0):
            is_exact = not data.version_parts or all(shard.is_exact for shard in shards)
            partly = "" if is_exact else _NOT_EXACT
            tell(f"version {data.version[:12]}: {forgotten} accepted rows were forgotten since, and are not listed{partly}")
        for number, shard in enumerate(shards):
            taken = [_left(each, shard) for each in _taken(data.version_parts, number, len(shards))]
            if shard.left is None or not (taken or keys):
                continue
            begin = 0
            async for batch in versions.shard_rows(shard.left, _COLUMNS):
                if keys:
                    self._held.add(batch)
                _hand_on(batch, begin, taken, accept)
                begin += batch.num_rows


async def lost_records(data: TrainingData, kafka: str, bodies: LargeBodies, tell: Callable[[str], None]) -> list[int]:
    """Tells of records that the topic no longer has; returns the topic's partitions.

    Raises:
        BrokerUnreachable: the broker does not answer, or has no such topic.
    """
    name = accepted_topic(data.dataset_id).name
    async with AcceptedTopic.opened(kafka, data.dataset_id, (0, 1), bodies, SubscribeLimits()) as topic:
        begins, ends = await topic.beginnings(), await topic.ends()
    for each in data.positions:
        begin, end = begins.get(each.partition, 0), ends.get(each.partition, 0)
        if each.from_offset < begin:
            gone = f"{each.from_offset} to {min(each.until_offset, begin) - 1}"
            tell(f"{name}[{each.partition}]: records {gone} were deleted since: the samples in them are not listed")
        if each.until_offset > end:
            tell(f"{name}[{each.partition}]: it ends at {end}, the checkpoint names records up to {each.until_offset - 1}")
    return sorted(begins)


def _taken(parts: tuple[VersionPart, ...], number: int, shards: int) -> Iterator[tuple[Slice, int, int | None]]:
    """Which rows of a shard as cut were read: slices of it with the first row and the one behind the last, None for the end."""
    for part in parts or (VersionPart(),):
        mine = slices_of(shards, part.share).get(number)
        first = part.since[1] if number == part.since[0] else 0
        last = part.until[1] if part.until is not None and number == part.until[0] else None
        behind = part.until is not None and number > part.until[0]
        if mine is not None and number >= part.since[0] and not behind and (last is None or first < last):
            yield mine, first, last


def _left(taken: tuple[Slice, int, int | None], shard: CutShard) -> tuple[Slice, int, int | None]:
    """What was read of a shard as cut, by the rows of it that are left."""
    mine, first, last = taken
    return mine, shard.rows_before(first), None if last is None else shard.rows_before(last)


def _hand_on(batch: "pa.RecordBatch", begin: int, taken: list[tuple[Slice, int, int | None]], accept: Accept) -> None:
    for mine, first, last in taken:
        low = max(first - begin, 0)
        high = batch.num_rows if last is None else min(max(last - begin, 0), batch.num_rows)
        rows = batch.slice(low, max(0, high - low))
        names = rows["sample_id"].to_pylist()
        chosen = [mine.has(name.encode()) for name in names]
        for row in compress(zip(*(rows[name].to_pylist() for name in _COLUMNS), strict=True), chosen):
            accept(*row)
