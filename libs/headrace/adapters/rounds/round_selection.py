"""The step between survey and refinement: the signal table, its thresholds, and what they select, in the object store.

Everything it writes follows from what was measured and from the rules: doing it again writes the same bytes under the same keys.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from headrace.adapters.rounds.held_out_loss import MeanLoss, compared_losses, held_out_loss
from headrace.adapters.rounds.selection_scan import ScanLimits, Selection, select
from headrace.adapters.rounds.signal_histograms import store_histograms
from headrace.adapters.rounds.signal_table import SignalFile, read_batches
from headrace.adapters.rounds.survey_table import build_signal_table
from headrace.adapters.scratch import scratch_folder
from headrace.core.ports.object_store import ObjectMissing, ObjectStore
from headrace.core.rounds.facts import RowsSelected
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.stored import collapsed_key, selection_key, signals_key, thresholds_key
from headrace.core.rounds.surveys import Purpose, SelectionRequested, Survey
from headrace.core.samples import OriginKind
from headrace.core.versions import DamagedVersion

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class RoundSelections:
    """Does selection steps, on local disk under `folder` (None: the system's temporary folder)."""

    objects: ObjectStore
    folder: Path | None = None
    limits: ScanLimits = field(default_factory=ScanLimits)

    async def select(self, asked: SelectionRequested) -> RowsSelected:
        """Thresholds and selection of a round; of an evaluation the held-out losses before and after, over the same rows.

        Raises:
            headrace.core.rounds.pages.RowsMissing: fewer rows were measured than the table is to have.
            headrace.core.rounds.thresholds.TooManyRows: the rules must hold more rows than the limits allow.
            DamagedVersion: an object is missing or damaged.
            ValueError: the rules cannot be read.
            Stop: the store is gone.
        """
        with scratch_folder("select", self.folder) as folder:
            work = _selected if asked.survey.purpose is Purpose.ROUND else _evaluated
            return await work(self.objects, asked, folder, self.limits)


async def _selected(objects: ObjectStore, asked: SelectionRequested, folder: Path, limits: ScanLimits) -> RowsSelected:
    survey, policy = asked.survey, RoundPolicy.model_validate_json(asked.rules_json)
    rules = policy.selection(has_base=bool(survey.base_model))
    table = await build_signal_table(objects, survey, asked.rows, folder, densities=policy.sparse.enabled)
    scan = partial(select, table.files, rules, folder, {}, limits, held_out=survey.holds_out)
    selection: Selection = await asyncio.to_thread(scan)
    loss = await asyncio.to_thread(held_out_loss, table.files, survey.holds_out)
    written = await asyncio.to_thread(_model_written, table.files)
    if selection.selected is not None:
        await objects.put_file(selection_key(survey), selection.selected.path)
    if selection.collapsed is not None:
        await objects.put_file(collapsed_key(survey), selection.collapsed.path)
    await store_histograms(objects, survey, table.files, selection.summary, rules.mode)
    thresholds = selection.summary.canonical_json()
    await objects.put(thresholds_key(survey), thresholds.encode())
    by_axis = {outcome.threshold.axis: outcome.rows_selected for outcome in selection.summary.axes}
    return RowsSelected(
        purpose=survey.purpose,
        hard=by_axis.get(Axis.HARD, 0),
        sparse=by_axis.get(Axis.SPARSE, 0),
        low_quality=by_axis.get(Axis.LOW_QUALITY, 0),
        thresholds_json=thresholds,
        selection_sha256=selection.selected.shard.sha256 if selection.selected else "",
        held_out_loss=loss.mean,
        held_out_rows=loss.rows,
        model_written_rows=written,
        collapsed=selection.collapsed.shard.rows if selection.collapsed else 0,
    )


async def _evaluated(objects: ObjectStore, asked: SelectionRequested, folder: Path, _: ScanLimits) -> RowsSelected:
    table = await build_signal_table(objects, asked.survey, asked.rows, folder, densities=False)
    before, after = await asyncio.to_thread(_compared, objects, asked.survey, table.files)
    return RowsSelected(
        purpose=asked.survey.purpose,
        hard=0,
        sparse=0,
        low_quality=0,
        thresholds_json="{}",
        selection_sha256="",
        held_out_loss=after.mean,
        held_out_rows=after.rows,
        held_out_loss_before=before.mean,
    )


def _compared(objects: ObjectStore, survey: Survey, table: Sequence[SignalFile]) -> tuple[MeanLoss, MeanLoss]:
    """With the round's own table, which is read where it lies."""
    key = signals_key(replace(survey, purpose=Purpose.ROUND))
    with ExitStack() as stack:
        try:
            file = stack.enter_context(objects.open(key))
        except ObjectMissing:
            raise DamagedVersion(f"{key}: no such object: without the round's table nothing can be compared") from None
        return compared_losses([SignalFile(file, key)], table)


def _model_written(table: Sequence[SignalFile]) -> int:
    kinds = (batch["origin_kind"] for batch in read_batches(table, ("origin_kind",), _BATCH_ROWS))
    return sum(int(pc.sum(pc.not_equal(kind, OriginKind.INGESTED.value)).as_py() or 0) for kind in kinds)
