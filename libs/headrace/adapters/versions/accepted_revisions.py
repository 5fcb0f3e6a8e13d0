"""Which revisions of given samples stand accepted, as the store knows it: the latest version, and what was staged since."""

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.shards import key_columns
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Verdict
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.versions import DamagedVersion, RowKind, Shard


async def accepted_revisions(versions: VersionStore, dataset_id: str, sample_ids: Collection[str]) -> dict[str, int]:
    """The highest accepted revision of those samples that have one; reads ids and revisions of shards that may hold them.

    Raises:
        Stop: the store is gone.
        DamagedVersion: an object is missing or altered.
        ValueError: an impossible dataset id.
    """
    staging = StagingArea(versions.objects)
    wanted = sorted(set(sample_ids))
    latest = await versions.latest(dataset_id)
    found: dict[str, int] = {}
    for shard in latest.manifest.shards_of(RowKind.ACCEPTED) if latest else ():
        if _may_hold_any(shard, wanted):
            _take(found, await asyncio.to_thread(_keys, versions.objects, shard), wanted)
    for part in (await staging.since(dataset_id, latest.manifest.inputs if latest else {})).slices(decided=True):
        table = await staging.read(dataset_id, part, ["sample_id", "revision", "verdict", "offset"])
        _take(found, table.filter(pc.equal(table["verdict"], Verdict.ACCEPTED.value)), wanted)
    return found


def _may_hold_any(shard: Shard, wanted: Sequence[str]) -> bool:
    at = bisect_left(wanted, shard.min_id)
    return at < len(wanted) and wanted[at] <= shard.max_id


def _keys(objects: ObjectStore, shard: Shard) -> pa.Table:
    try:
        with objects.open(shard.key) as handle:
            return key_columns(handle, shard)
    except ObjectMissing as error:
        raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error


def _take(found: dict[str, int], keys: pa.Table, wanted: Sequence[str]) -> None:
    mine = keys.filter(pc.is_in(keys["sample_id"], value_set=pa.array(wanted, pa.string())))
    for sample_id, revision in zip(mine["sample_id"].to_pylist(), mine["revision"].to_pylist(), strict=True):
        found[sample_id] = max(revision, found.get(sample_id, revision))
