"""Drafting a version: from the parent's shards and the staged rows to the next manifest. Nothing refers to a draft."""

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.build import NewRows, Table, TableEditor, local_keys, tally, without_old_models
from headrace.adapters.versions.cost_tally import cost_tally
from headrace.adapters.versions.key_hashes import KeyHashes, WantedRows, key_hashes
from headrace.adapters.versions.retraction_rows import RETRACTIONS_SCHEMA_ID
from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA_ID, EMBEDDINGS_SCHEMA_ID
from headrace.adapters.versions.shards import LocalShard, ShardLimits, key_columns, verify_file
from headrace.adapters.versions.sorted_rows import RUN_BYTES
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.sweeps import SweepWatch
from headrace.core.dossiers import Verdict
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.staged import Slice, Staged, up_to
from headrace.core.version_costs import costs_added
from headrace.core.versions import Counts, DamagedVersion, Manifest, RowKind, Shard, Version, added, in_id_order

_COPY_BYTES = 8 * 1024 * 1024
_SCHEMAS = {
    RowKind.ACCEPTED: DECIDED_SCHEMA_ID,
    RowKind.REJECTED: DECIDED_SCHEMA_ID,
    RowKind.EMBEDDINGS: EMBEDDINGS_SCHEMA_ID,
    RowKind.RETRACTIONS: RETRACTIONS_SCHEMA_ID,
}

_TALLIED = {
    "reasons": ("reason",),
    "policies": ("policy_version",),
    "models": ("model", "model_version"),
    "recipes": ("origin_recipe", "origin_recipe_version"),
}

Edit = Callable[[Table], Table]


@dataclass(frozen=True, slots=True)
class CutSettings:
    """Limits of one cut.

    `folder` is where rows are sorted on local disk (None: the system's own place); it needs about three times the size of
    the new rows. `embeddings_wait_s` is how long a cut waits for embeddings of accepted rows that are still on their way.
    """

    folder: Path | None = None
    shards: ShardLimits = field(default_factory=ShardLimits)
    run_bytes: int = RUN_BYTES
    embeddings_wait_s: float = 5.0
    embeddings_poll_s: float = 0.25
    rebases_max: int = 8


class Draft:
    """One attempt at the next version of one dataset, with its rows sorted in a local folder of its own."""

    def __init__(
        self,
        objects: ObjectStore,
        staging: StagingArea,
        settings: CutSettings,
        folder: Path,
        dataset_id: str,
        parent: Version | None,
    ) -> None:
        self._objects = objects
        self._staging = staging
        self._settings = settings
        self._folder = folder
        self._dataset_id = dataset_id
        self._parent = parent
        before = parent.manifest if parent else None
        self._inputs = dict(before.inputs) if before else {}
        self._tallies = {
            "reasons": dict(before.reasons) if before else {},
            "policies": dict(before.policies) if before else {},
            "models": dict(before.models) if before else {},
            "recipes": dict(before.recipes) if before else {},
        }
        self._costs = dict(before.costs) if before else {}
        self._decided = before.counts.decided if before else 0
        self._retracted = before.counts.retracted if before else 0
        self._forgotten = before.counts.forgotten + before.forgotten.get(RowKind.REJECTED, 0) if before else 0
        self._editor = TableEditor(self._sub("edited"), settings.shards, self._fetch, self._keys)

    async def manifest(self, staged: Staged, decided: Sequence[Slice], *, everything: bool) -> Manifest:
        """Write the shards and say what the version is. `everything` takes all embeddings there are, not just the needed ones."""
        edit = self._editor
        new_rules = await self._retractions(staged.retractions())
        rules = await self._edited(RowKind.RETRACTIONS, new_rules, edit.replace_revisions, edit.merge_small)
        decided_accepted, rejected = await self._decided_rows(decided)
        # Before anything waits for their embeddings: those of a sample that was retracted on its way never come.
        accepted = (await asyncio.to_thread(self._taking_back, Table((), decided_accepted), rules)).new
        embeddings = await self._embeddings(await self._indexed(staged, accepted, everything=everything))
        standing = self._parent.manifest.shards_of(RowKind.ACCEPTED) if self._parent else ()
        drop_older = partial(edit.drop_older, accepted=accepted, standing=standing)
        drop_retracted = partial(edit.drop_retracted, rules=rules)
        drop_models = partial(without_old_models, fresh={local.shard.group for local in embeddings})
        take_back = partial(self._taking_back, rules=rules)
        tables = {
            RowKind.ACCEPTED: await self._edited(RowKind.ACCEPTED, accepted, edit.replace_revisions, take_back, edit.merge_small),
            RowKind.REJECTED: await self._edited(RowKind.REJECTED, rejected, edit.merge_small),
            RowKind.EMBEDDINGS: await self._edited(
                RowKind.EMBEDDINGS, embeddings, edit.replace_revisions, drop_older, drop_retracted, drop_models, edit.merge_small
            ),
        }
        if rules.shards:  # a dataset without any looks as it did before there were retractions
            tables[RowKind.RETRACTIONS] = rules
        await self._store([local for table in tables.values() for local in table.new])
        return self._manifest(tables)

    async def _store(self, shards: Sequence[LocalShard]) -> None:
        lay_there, watch = False, await SweepWatch.begun(self._objects)
        for local in shards:
            lay_there |= await self._objects.stat(local.shard.key) is not None
            await self._objects.put_file(local.shard.key, local.path)
        if lay_there:
            await watch.require_none()

    def _manifest(self, tables: Mapping[RowKind, Table]) -> Manifest:
        accepted, rejected, embeddings = (tables[kind].rows for kind in (RowKind.ACCEPTED, RowKind.REJECTED, RowKind.EMBEDDINGS))
        return Manifest(
            dataset=self._dataset_id,
            sequence=self._parent.manifest.sequence + 1 if self._parent else 1,
            parent=self._parent.id if self._parent else None,
            schemas={kind: _SCHEMAS[kind] for kind in tables},
            shards={kind: in_id_order(table.shards) for kind, table in tables.items()},
            counts=Counts(
                decided=self._decided,
                accepted=accepted,
                rejected=rejected,
                superseded=self._decided - accepted - rejected - self._retracted - self._forgotten,
                retracted=self._retracted,
                forgotten=self._forgotten,
                embeddings=embeddings,
                embeddings_missing=max(0, accepted - _best_covered(tables[RowKind.EMBEDDINGS].shards)),
            ),
            inputs=self._inputs,
            costs=self._costs,
            **self._tallies,
        )

    async def _retractions(self, parts: Sequence[Slice]) -> tuple[LocalShard, ...]:
        """New retractions as local shards: of each sample the one that reaches furthest."""
        rows = self._new_rows(RowKind.RETRACTIONS, latest=True)
        for part in parts:
            rows.add(await self._staging.read(self._dataset_id, part))
            self._inputs[part.segment.stream] = part.upto
        return await asyncio.to_thread(rows.written)

    def _taking_back(self, table: Table, rules: Table) -> Table:
        """The accepted rows that no retraction covers; the others are counted."""
        left = self._editor.drop_retracted(table, rules)
        self._retracted += table.rows - left.rows
        return left

    async def _decided_rows(self, parts: Sequence[Slice]) -> tuple[tuple[LocalShard, ...], tuple[LocalShard, ...]]:
        """New accepted and rejected rows as local shards."""
        accepted = self._new_rows(RowKind.ACCEPTED, latest=True)
        rejected = self._new_rows(RowKind.REJECTED, latest=False)
        for part in parts:
            table = await self._staging.read(self._dataset_id, part)
            await asyncio.to_thread(self._take, table, accepted, rejected)
            self._inputs[part.segment.stream] = part.upto
        return await asyncio.to_thread(accepted.written), await asyncio.to_thread(rejected.written)

    def _take(self, table: pa.Table, accepted: NewRows, rejected: NewRows) -> None:
        is_accepted = pc.equal(table["verdict"], Verdict.ACCEPTED.value)
        accepted.add(table.filter(is_accepted))
        rejected.add(table.filter(pc.invert(is_accepted)))
        self._decided += table.num_rows
        self._tallies = {name: added(self._tallies[name], tally(table, *columns)) for name, columns in _TALLIED.items()}
        self._costs = costs_added(self._costs, cost_tally(table))

    async def _indexed(self, staged: Staged, accepted: Sequence[LocalShard], *, everything: bool) -> tuple[Slice, ...]:
        """The staged embeddings to take, once those of the new accepted rows have arrived or been waited for long enough.

        Not everything means up to the last one needed, so that what a cut takes does not depend on the moment.
        """
        wanted = WantedRows([await asyncio.to_thread(_hashes, local) for local in accepted])
        deadline = time.monotonic() + self._settings.embeddings_wait_s
        last_needed: dict[Slice, int] = {}
        while True:
            parts = staged.slices(decided=False)
            for part in parts:
                if part not in last_needed:
                    keys = await self._staging.read(self._dataset_id, part, ["sample_id", "revision", "offset"])
                    last_needed[part] = await asyncio.to_thread(_last_needed, keys, wanted)
            if wanted.all_came or time.monotonic() >= deadline:
                return parts if everything else up_to(parts, {part: last_needed[part] for part in parts})
            await asyncio.sleep(self._settings.embeddings_poll_s)
            staged = await self._staging.since(self._dataset_id, staged.inputs)

    async def _embeddings(self, parts: Sequence[Slice]) -> tuple[LocalShard, ...]:
        rows = self._new_rows(RowKind.EMBEDDINGS, latest=True)
        for part in parts:
            table = await self._staging.read(self._dataset_id, part)
            await asyncio.to_thread(rows.add_embeddings, table)
            self._inputs[part.segment.stream] = part.upto
        return await asyncio.to_thread(rows.written)

    async def _edited(self, kind: RowKind, new: tuple[LocalShard, ...], *edits: Edit) -> Table:
        table = Table(self._parent.manifest.shards_of(kind) if self._parent else (), new)
        for edit in edits:
            table = await asyncio.to_thread(edit, table)
        return table

    def _new_rows(self, kind: RowKind, *, latest: bool) -> NewRows:
        return NewRows(self._sub(kind), self._settings.shards, self._settings.run_bytes, latest=latest)

    def _sub(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _fetch(self, shard: Shard) -> Path:
        path = self._folder / f"{shard.sha256}.parent.parquet"
        try:
            with self._objects.open(shard.key) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error
        verify_file(path, shard)
        return path

    def _keys(self, shard: Shard) -> pa.Table:
        try:
            with self._objects.open(shard.key) as handle:
                return key_columns(handle, shard)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error


def _hashes(local: LocalShard) -> KeyHashes:
    return key_hashes(local_keys(local))


def _last_needed(keys: pa.Table, wanted: WantedRows) -> int:
    """The offset of the last of these rows that is wanted, -1 where none is; they are noted as having come."""
    offsets: KeyHashes = keys["offset"].to_numpy()
    return int(offsets[wanted.come(key_hashes(keys))].max(initial=-1))


def _best_covered(shards: Sequence[Shard]) -> int:
    """Rows of the embedding model that has most of them."""
    rows: dict[tuple[str, str, int], int] = {}
    for shard in shards:
        rows[shard.group] = rows.get(shard.group, 0) + shard.rows
    return max(rows.values(), default=0)
