"""Which samples a checkpoint has seen."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.adapters.checkpoints.seen_file import seen_in
from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.claim_check import ClaimLimits, LargeBodies
from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.scratch import scratch_folder
from headrace.client.gathered import Gathered
from headrace.client.limits import ClientSettings
from headrace.client.read_again import ReadVersion, lost_records
from headrace.client.seen_table import Seen, SeenTable
from headrace.core.checkpoints import SEEN_FILE, CheckpointPublished, PositionRange, TrainingData
from headrace.core.dossiers import AcceptedSample, Retraction
from headrace.core.events import Event, Position
from headrace.core.ports.object_store import ObjectStore
from headrace.core.samples import prompt_hash_of
from headrace.core.sharing import slices_of
from headrace.core.topics import accepted_topic

__all__ = ["Seen", "seen_rows", "seen_samples"]

Tell = Callable[[str], None]
"""Hears of what can no longer be listed."""


async def seen_samples(
    published: CheckpointPublished,
    *,
    held_out: bool = False,
    kafka: str | None = None,
    store: ObjectStoreSettings | None = None,
) -> AsyncGenerator[tuple[str, int], None]:
    """Id and revision alone of what `seen_rows` gives; raises as it does."""
    async with aclosing(seen_rows(published, held_out=held_out, kafka=kafka, store=store)) as rows:
        async for row in rows:
            yield row.sample_id, row.revision


async def seen_rows(
    published: CheckpointPublished,
    *,
    held_out: bool = False,
    kafka: str | None = None,
    store: ObjectStoreSettings | None = None,
    tell: Tell = lambda _: None,
) -> AsyncGenerator[Seen, None]:
    """Every sample the checkpoint has seen, or with `held_out` those that were kept from it.

    Where the trainer stored the list with the weights (`SEEN_FILE`), it is that list. Else it follows from what the checkpoint
    says of its data: the accepted rows of the version, then the ranges of the accepted topic. A trainer that read everything
    before it trained has seen what stood at the end, revisions and retractions applied. One that trained on samples as they came
    (`TrainingData.streamed`) has seen all of them, and what became of them since is said of each. `tell` hears of each gap: what
    was deleted or forgotten since, and is not listed. Memory does not grow with the number of samples.

    Raises:
        DamagedCheckpoint, DamagedVersion: an object is missing or altered.
        Stop, BrokerUnreachable: store or broker cannot be reached.
    """
    settings, data = store or ObjectStoreSettings(), published.data
    with scratch_folder("samples") as folder:
        async with open_object_store(settings) as objects:
            if not held_out and any(file.name == SEEN_FILE for file in published.files):
                path = folder / SEEN_FILE
                await CheckpointStore(objects).download(published, SEEN_FILE, path)
                for sample_id, revision in seen_in(path):
                    yield Seen(sample_id, revision)
                return
            reading = _Reading(data, objects, settings, kafka or ClientSettings().kafka, tell)
            path = Path(folder) / "samples.sqlite"
            if data.streamed:
                with SeenTable(path, data.held_out_seed) as table:
                    await reading.into(_Streamed(table))
                    for row in (table.held_out if held_out else table.trained)(data.held_out_share):
                        yield row
                return
            with Gathered(path, data.held_out_seed) as gathered:
                await reading.into(_Gathering(gathered))
                chosen = gathered.held_out if held_out else gathered.trained
                for sample_id, revision, _ in chosen(data.held_out_share):
                    yield Seen(sample_id, revision)


@dataclass(frozen=True, slots=True)
class _Gathering:
    """What stands at the end."""

    table: Gathered

    def accept(self, sample_id: str, revision: int, prompt_hash: str, *, read: bool = True) -> None:
        if read:
            self.table.accept(sample_id, revision, prompt_hash)

    def retract(self, sample_id: str, revision: int, *, read: bool = True) -> None:
        if read:
            self.table.retract(sample_id, revision)


@dataclass(frozen=True, slots=True)
class _Streamed:
    """All that was seen, and what became of it."""

    table: SeenTable

    def accept(self, sample_id: str, revision: int, prompt_hash: str, *, read: bool = True) -> None:
        if read:
            self.table.accept(sample_id, revision, prompt_hash)
        else:
            self.table.know(sample_id, latest=revision)

    def retract(self, sample_id: str, revision: int, *, read: bool = True) -> None:  # noqa: ARG002 - said either way
        self.table.know(sample_id, retracted=revision)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads again what a trainer read."""

    data: TrainingData
    objects: ObjectStore
    store: ObjectStoreSettings
    kafka: str
    tell: Tell

    async def into(self, taker: _Gathering | _Streamed) -> None:
        with ReadVersion() as version:
            if self.data.version:
                keys = any(each.repeats_until > each.from_offset for each in self.data.positions)
                await version.read(self.objects, self.data, taker.accept, self.tell, keys=keys)
            if self.data.positions or self.data.streamed:
                await self._records(version, taker)

    async def _records(self, version: ReadVersion, taker: _Gathering | _Streamed) -> None:
        bytes_max = ClientSettings().delivery_claim_bytes_max
        bodies = LargeBodies(partial(open_object_store, self.store), ClaimLimits(bytes_max, bytes_max, parallel_max=1))
        try:
            partitions = await lost_records(self.data, self.kafka, bodies, self.tell)
            ranges = _ranges_by_partition(self.data)
            events = read_topic(accepted_topic(self.data.dataset_id), self.kafka, until_now=True, large_bodies=bodies)
            async with aclosing(events):
                async for event in events:
                    found = _range_of(event, ranges, partitions)
                    _take(taker, version, event, found)
        finally:
            await bodies.aclose()


def _ranges_by_partition(data: TrainingData) -> dict[int, list[PositionRange]]:
    ranges: dict[int, list[PositionRange]] = {}
    for each in data.positions:
        ranges.setdefault(each.partition, []).append(each)
    return ranges


def _range_of(
    event: Event[AcceptedSample], ranges: Mapping[int, list[PositionRange]], partitions: list[int]
) -> PositionRange | None:
    """The range that the record was read with, None where it was not read."""
    at: Position = event.position
    for each in ranges.get(at.partition, ()):
        if each.from_offset <= at.offset < each.until_offset:
            part = slices_of(len(partitions), each.share).get(partitions.index(at.partition))
            if part is not None and part.has(_id_of(event.body).encode()):
                return each
    return None


def _take(taker: _Gathering | _Streamed, version: ReadVersion, event: Event[AcceptedSample], found: PositionRange | None) -> None:
    change = event.body.change
    if isinstance(change, Retraction):
        taker.retract(change.sample_id, change.revision, read=found is not None)
        return
    sample = change.sample
    passed_over = found is not None and event.position.offset < found.repeats_until and version.holds(sample.id, sample.revision)
    read = found is not None and not passed_over
    taker.accept(sample.id, sample.revision, prompt_hash_of(sample) if read else "", read=read)


def _id_of(body: AcceptedSample) -> str:
    return body.change.sample_id if isinstance(body.change, Retraction) else body.change.sample.id
