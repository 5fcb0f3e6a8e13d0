"""Which samples of a dataset were retracted, as the object store knows it: the latest version, and what was staged since."""

from collections.abc import Collection, Iterator

import pyarrow as pa

from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.core.ports.object_store import ObjectStore
from headrace.core.retractions import highest
from headrace.core.versions import RowKind

_COLUMNS = ("sample_id", "revision", "reason")


async def retracted_samples(objects: ObjectStore, dataset_id: str, but: Collection[str] = ()) -> dict[str, int]:
    """The highest retracted revision by sample id; memory grows with the retractions, not with the dataset.

    Retractions for the reasons in `but` are left out.

    Raises:
        Stop: the store is gone.
        DamagedVersion: an object is missing or altered.
        ValueError: an impossible dataset id.
    """
    versions, staging = VersionStore(objects), StagingArea(objects)
    latest = await versions.latest(dataset_id)
    rules: list[tuple[str, int]] = []
    if latest:
        async for batch in versions.rows(latest.manifest, RowKind.RETRACTIONS, _COLUMNS):
            rules += _rules_in(batch, but)
    staged = await staging.since(dataset_id, latest.manifest.inputs if latest else {})
    for part in staged.retractions():
        table = await staging.read(dataset_id, part, [*_COLUMNS, "offset"])
        rules += _rules_in(table, but)
    return highest(rules)


def _rules_in(rows: pa.RecordBatch | pa.Table, but: Collection[str]) -> Iterator[tuple[str, int]]:
    columns = (rows[name].to_pylist() for name in _COLUMNS)
    return ((sample_id, revision) for sample_id, revision, reason in zip(*columns, strict=True) if reason not in but)
