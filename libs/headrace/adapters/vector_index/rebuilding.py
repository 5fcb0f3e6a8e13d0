"""Makes the index again from the object store: a dataset's latest version, and what was staged since."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.retracted_samples import retracted_samples
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire import events as wire
from headrace.core.dossiers import Dossier, Verdict
from headrace.core.ports.object_store import ObjectStore
from headrace.core.ports.vector_index import AcceptedPoint, Content, Space, Vector, VectorIndex, Vectors
from headrace.core.rejections import Rejection, rejection_of
from headrace.core.retractions import is_retracted
from headrace.core.versions import RowKind

_COLUMNS = ("sample_id", "revision", "content_hash", "prompt_hash", "model", "model_version", "prompt", "conversation")
_DECISION = ("verdict", "dossier")
_ROWS = 1_024


async def rebuild(index: VectorIndex, objects: ObjectStore, dataset_id: str, *, clear: bool) -> int:
    """Load everything that stands accepted in the store, and what was rejected; returns how many accepted points that were.

    What the index holds already stays, unless `clear` drops the dataset's accepted points first: only right where nothing is
    in flight between the index and the store. Pending points stay in either case, and so does what is known to be rejected.

    Raises:
        Stop: the store or the index is gone.
        DamagedVersion: an object is missing or altered.
        ValueError: an impossible dataset id, or vectors that do not fit the space.
    """
    if clear:
        for census in await index.census():
            if census.space.dataset_id == dataset_id:
                await index.clear(census.space)
    rules = await retracted_samples(objects, dataset_id)
    for start in range(0, len(rules), _ROWS):
        await index.retract(dataset_id, list(rules.items())[start : start + _ROWS])
    async for rejections in _rejected(objects, dataset_id):
        await index.reject(dataset_id, rejections)
    loaded = 0
    async for points in _standing(objects, dataset_id):
        standing = [point for point in points if not is_retracted(rules, point.sample_id, point.revision)]
        loaded += sum(await index.load(standing))
    return loaded


async def _standing(objects: ObjectStore, dataset_id: str) -> AsyncIterator[list[AcceptedPoint]]:
    """The accepted points of the highest revisions, those of the version first: what was staged may be another model's."""
    versions, staging = VersionStore(objects), StagingArea(objects)
    latest = await versions.latest(dataset_id)
    staged = await staging.since(dataset_id, latest.manifest.inputs if latest else {})
    parts = staged.slices(decided=False)
    highest: dict[str, int] = {}
    for part in parts:
        names = await staging.read(dataset_id, part, ("sample_id", "revision", "offset"))
        for row in names.to_pylist():
            highest[row["sample_id"]] = max(row["revision"], highest.get(row["sample_id"], 0))
    if latest:
        async for batch in versions.rows(latest.manifest, RowKind.EMBEDDINGS, _COLUMNS, _ROWS):
            yield [point for point in _points(dataset_id, batch) if point.revision >= highest.get(point.sample_id, 0)]
    for part in parts:
        table = await staging.read(dataset_id, part)
        for batch in table.to_batches(max_chunksize=_ROWS):
            yield [point for point in _points(dataset_id, batch) if point.revision == highest[point.sample_id]]


async def _rejected(objects: ObjectStore, dataset_id: str) -> AsyncIterator[list[Rejection]]:
    """What was rejected up to the version, then what was since: of an id and revision the first one counts."""
    versions, staging = VersionStore(objects), StagingArea(objects)
    latest = await versions.latest(dataset_id)
    if latest:
        async for batch in versions.rows(latest.manifest, RowKind.REJECTED, _DECISION, _ROWS):
            yield _rejections(batch)
    staged = await staging.since(dataset_id, latest.manifest.inputs if latest else {})
    for part in staged.slices(decided=True):
        yield _rejections(await staging.read(dataset_id, part, (*_DECISION, "offset")))


def _rejections(rows: pa.RecordBatch | pa.Table) -> list[Rejection]:
    rejected = rows.filter(pc.equal(rows["verdict"], Verdict.REJECTED.value))["dossier"].to_pylist()
    found = (rejection_of(wire.decode(Dossier, dossier)) for dossier in rejected)
    return [rejection for rejection in found if rejection is not None]


def _points(dataset_id: str, batch: pa.RecordBatch) -> Iterator[AcceptedPoint]:
    for row in batch.select(_COLUMNS).to_pylist():
        yield AcceptedPoint(
            Space(dataset_id, row["model"], row["model_version"]),
            row["sample_id"],
            row["revision"],
            Content(row["content_hash"], row["prompt_hash"]),
            Vectors(_vector(row["prompt"]), _vector(row["conversation"])),
        )


def _vector(value: Any) -> Vector:
    """A list of floats from a shard, bytes from a staged segment."""
    return np.frombuffer(value, "<f4").astype(np.float32) if isinstance(value, bytes) else np.asarray(value, np.float32)
