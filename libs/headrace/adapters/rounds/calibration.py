"""Calibration: standing thresholds from the first decided samples of the model version that measures now.

The rows are read where they lie, only the columns needed, in memory bounded by the rows that a calibration takes. Two readings
of the same version give the same thresholds: which rows count follows from their times and names, not from their order.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.calibration_rows import judgement_in, judgements_of
from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA
from headrace.adapters.versions.shards import find_rows, read_columns
from headrace.adapters.versions.store import NoSuchVersion, VersionStore
from headrace.core.dossiers import DatasetCommitted, Judgement
from headrace.core.policies import Policy
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.rounds.calibrating import calibrated
from headrace.core.rounds.standing import StandingThresholds
from headrace.core.versions import DamagedVersion, Manifest, RowKind, Shard, manifest_key

_BATCH_ROWS = 4_096
_DOSSIERS = 256
"""Rows of a batch that holds dossiers, which may be long."""

_ORDER = ("decided_at", "sample_id", "revision", "loss_mean")
"""Which rows are the first: the last two tell apart what was decided at one moment, or submitted again."""

_WHO = ("model", "model_version", "origin_round")

Announced = Callable[[str], str | None]
"""The version of a model that measures; None where none was ever announced."""


class CalibrationTooLong(Exception):
    """The rows are too many to be read in the time that there is; the message names the setting."""


class Calibrations:
    """Calibrates over versions in an object store, each in `seconds_max` at most."""

    def __init__(self, versions: VersionStore, seconds_max: float = 60.0) -> None:
        self._versions = versions
        self._seconds_max = seconds_max

    async def calibrate(self, committed: DatasetCommitted, policy: Policy, announced: Announced) -> StandingThresholds | None:
        """The thresholds of the version that measures now, from the first `standing.rows` rows that it measured.

        Rewrites do not count: they are held to their parents instead. Where the policy wants quality, rows count that were
        judged, by the ruler that judged the row decided last. The model is that of that row, too; where none of its versions was
        announced, so is the version.

        None where the policy has its thresholds, by that ruler, where there are fewer such rows, or where the dataset version is
        pruned.

        Raises:
            CalibrationTooLong: it would take longer than it may.
            DamagedVersion: a shard is missing or cannot be read.
            Stop: the store is gone.
        """
        try:
            key = manifest_key(committed.dataset_id, committed.sequence, committed.version)
            manifest = await self._versions.manifest_at(key, committed.version)
        except NoSuchVersion:
            return None
        candidates = _candidates(manifest, policy, announced)
        if not candidates:
            return None
        rows = _Rows(self._versions.objects, manifest, self._seconds_max)
        return await asyncio.to_thread(_calibrated, rows, policy, candidates, announced)


def _candidates(manifest: Manifest, policy: Policy, announced: Announced) -> set[tuple[str, str]]:
    """Versions that may measure now and have rows enough, by the manifest's count of all decisions, without reading a row."""
    found = set()
    for name, count in manifest.models.items():
        model, _, version = name.rpartition(" ")
        is_settled = policy.standing.has_of(model, version) and not policy.standing.judges
        if count >= policy.standing.rows and announced(model) in {None, version} and not is_settled:
            found.add((model, version))
    return found


def _calibrated(
    rows: "_Rows", policy: Policy, candidates: set[tuple[str, str]], announced: Announced
) -> StandingThresholds | None:
    judged, first = policy.standing.judges, _Earliest(policy.standing.rows)
    model, version = _measured_last(rows)
    measuring = (model, announced(model) or version)
    if measuring not in candidates:
        return None
    ruler_hash = _judged_last(rows, *measuring) if judged else ""
    if policy.standing.is_calibrated(*measuring, ruler_hash):
        return None
    for batch in rows.read((*_ORDER, *_WHO, *(("dossier",) if judged else ()))):
        mine = pc.and_(pc.equal(batch["model"], measuring[0]), pc.equal(batch["model_version"], measuring[1]))
        measured = first.may_count(batch.filter(pc.and_(mine, pc.is_finite(batch["loss_mean"]))))
        first.add(_with_quality(measured, ruler_hash) if judged else measured.select(_ORDER))
    found = first.found()
    if found is None:
        return None
    losses = found["loss_mean"].to_numpy()
    qualities = found["quality"].to_numpy() if judged else np.full(len(losses), np.nan)
    return calibrated(policy.standing, policy.rounds, *measuring, losses, qualities, ruler_hash)


def _measured_last(rows: "_Rows") -> tuple[str, str]:
    """Model and version of the row decided last."""
    last = _decided_last(rows, pc.is_valid(pc.field("model")))
    return (last["model"], last["model_version"]) if last else ("", "")


def _judged_last(rows: "_Rows", model: str, version: str) -> str:
    """The ruler by which this version judged the row that it measured last; empty where it did not."""
    mine = (pc.field("model") == model) & (pc.field("model_version") == version)
    last = _decided_last(rows, mine & pc.is_valid(pc.field("loss_mean")))
    judgement = judgement_in(last["sample_id"], rows.dossier_of(last)) if last else None
    return judgement.ruler_hash if judgement is not None else ""


def _decided_last(rows: "_Rows", which: pc.Expression) -> dict[str, Any] | None:
    last = pa.table({name: pa.array([], DECIDED_SCHEMA.field(name).type) for name in (*_ORDER, *_WHO)})
    for batch in rows.read((*_ORDER, *_WHO)):
        both = pa.concat_tables([last, batch.filter(which)])
        last = both.sort_by([(name, "descending") for name in _ORDER])[:1]
    return last.to_pylist()[0] if last.num_rows else None


class _Rows:
    """All decided rows of a version but rewrites, accepted and rejected. Reading raises CalibrationTooLong after a time."""

    def __init__(self, objects: ObjectStore, manifest: Manifest, seconds_max: float) -> None:
        self._objects = objects
        self._manifest = manifest
        self._seconds_max = seconds_max
        self._ends = time.monotonic() + seconds_max

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some of their columns, a stretch at a time."""
        for kind in (RowKind.ACCEPTED, RowKind.REJECTED):
            for shard in self._manifest.shards_of(kind):
                for batch in self._read(shard, columns):
                    self._require_time()
                    table = pa.Table.from_batches([batch])
                    yield table.filter(pc.is_null(table["origin_round"]))

    def dossier_of(self, row: Mapping[str, Any]) -> bytes:
        """The dossier of a row that was read."""
        for shard in (*self._manifest.shards_of(RowKind.ACCEPTED), *self._manifest.shards_of(RowKind.REJECTED)):
            if not shard.may_hold(row["sample_id"]):
                continue
            with self._opened(shard) as handle:
                for found in find_rows(handle, shard, row["sample_id"]).to_pylist():
                    if all(found[name] == row[name] for name in _ORDER):
                        dossier: bytes = found["dossier"]
                        return dossier
        raise DamagedVersion(f"the row of {row['sample_id']} revision {row['revision']} cannot be found again")

    def _read(self, shard: Shard, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        batch_rows = _DOSSIERS if "dossier" in columns else _BATCH_ROWS
        with self._opened(shard) as handle, closing(read_columns(handle, shard, columns, batch_rows)) as batches:
            yield from batches

    def _opened(self, shard: Shard) -> BinaryIO:
        try:
            return self._objects.open(shard.key)
        except ObjectMissing as error:
            raise DamagedVersion(f"{shard.key}: no such object, though a manifest names it") from error

    def _require_time(self) -> None:
        if time.monotonic() > self._ends:
            limit = f"{self._seconds_max:g} s (HEADRACE_CONTROLLER_CALIBRATION_S_MAX)"
            raise CalibrationTooLong(f"its rows were not read within {limit}")


def _with_quality(rows: pa.Table, ruler_hash: str) -> pa.Table:
    """Those that were judged by this ruler, with what the model made of them."""
    qualities = pa.array([_quality(judgement, ruler_hash) for judgement in judgements_of(rows)], pa.float64())
    judged = rows.select(_ORDER).append_column("quality", qualities)
    return judged.filter(pc.is_finite(qualities))


def _quality(judgement: Judgement | None, ruler_hash: str) -> float | None:
    return judgement.quality if judgement is not None and judgement.ruler_hash == ruler_hash else None


class _Earliest:
    """The first so many rows of all that were added, whatever the order they come in; holds about twice as many."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max
        self._kept: list[pa.Table] = []
        self._rows_kept = 0
        self._last: pa.Scalar | None = None

    def may_count(self, rows: pa.Table) -> pa.Table:
        """Without those that are surely too late."""
        return rows if self._last is None else rows.filter(pc.less_equal(rows["decided_at"], self._last))

    def add(self, rows: pa.Table) -> None:
        """Take in more rows, all with the same columns."""
        self._kept.append(rows)
        self._rows_kept += rows.num_rows
        if self._rows_kept >= 2 * self._rows_max:
            self._settle()

    def found(self) -> pa.Table | None:
        """The first rows in their order; None where there are fewer than asked for."""
        self._settle()
        return self._kept[0] if self._last is not None else None

    def _settle(self) -> None:
        if self._rows_kept < self._rows_max:
            return
        self._kept = [pa.concat_tables(self._kept).sort_by([(name, "ascending") for name in _ORDER])[: self._rows_max]]
        self._rows_kept = self._rows_max
        self._last = self._kept[0]["decided_at"][-1]
