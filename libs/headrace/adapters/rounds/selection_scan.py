"""Thresholds and selection of a round in two streaming passes over its signal table, in memory that does not grow with it.

The first pass gathers exact moments, the second writes the selection. Two things do grow with the table, to about 100 bytes a row
and up to `rows_held_max` rows: the columns of axes whose m is solved for a target share, and the merge keys of mode MIDDO_COMPAT,
which takes a third pass where rows collapse. The same table gives the same thresholds and the same bytes, however
its rows are spread over files and row groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.adapters.rounds.signal_table import (
    RULER,
    HeldOut,
    SignalFile,
    merge_keys,
    number_columns,
    read_batches,
    signal_rows,
)
from headrace.adapters.versions.shards import LocalShard, ShardLimits, read_shard, write_shards
from headrace.core.rounds.rules import Axis, Mode, SelectionRules
from headrace.core.rounds.selection import beside, is_beyond, owned
from headrace.core.rounds.signal_rows import Flags, SignalRows
from headrace.core.rounds.tally import SelectionSummary, Tally
from headrace.core.rounds.thresholds import Threshold, surveys_of

ADDS = "adds"

SELECTION = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
        pa.field("axis", pa.string(), nullable=False),  # what it is selected for
        pa.field("beyond", pa.list_(pa.string()), nullable=False),  # the axes beyond whose thresholds it lies
        pa.field("loss_post", pa.float64()),
        pa.field("loss_pre", pa.float64()),
        pa.field("density", pa.float64()),
        pa.field("quality", pa.float64()),  # as the mode computes it
        pa.field(ADDS, pa.bool_(), nullable=False),  # its rewrite stands beside it though the axis replaces: MIDDO_COMPAT alone
    ]
)
"""A row for each sample selected, in the order of the table; in mode MIDDO_COMPAT for each sample and axis."""

COLLAPSED = pa.schema([pa.field("sample_id", pa.string(), nullable=False), pa.field("revision", pa.int64(), nullable=False)])
"""Rows that leave in mode MIDDO_COMPAT because another row has their merge key."""

_ONE_FILE = ShardLimits(shard_rows_max=1 << 62, shard_bytes_max=1 << 62, group_rows_max=65_536)

_AXES_BY_BITS = pa.array(
    [[axis for axis in Axis if is_beyond(np.array([bits], np.uint8), axis)[0]] for bits in range(1 << len(Axis))],
    pa.list_(pa.string()),
)


_RULERS_NAMED_MAX = 5


class SeveralRulers(ValueError):
    """The judge's ruler is not the same for all rows of a table."""


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """Bounds of one scan: rows that a target share or a merge may hold, about 100 bytes each, and rows of a batch."""

    rows_held_max: int = 4_000_000
    batch_rows: int = 65_536


@dataclass(frozen=True, slots=True)
class Selection:
    """The summary, and the files written, None where they would be empty.

    `selected` has the columns of SELECTION, `collapsed` those of COLLAPSED (mode MIDDO_COMPAT alone).
    """

    summary: SelectionSummary
    selected: LocalShard | None
    collapsed: LocalShard | None


def select(
    table: Sequence[SignalFile],
    rules: SelectionRules,
    folder: Path,
    retracted: Mapping[str, int],
    limits: ScanLimits = ScanLimits(),
    held_out: HeldOut | None = None,
) -> Selection:
    """Compute the thresholds of a closed signal table and write the selection into the folder, in files named by their hash.

    `table` is its files in the order of their rows; `retracted` holds the highest retracted revision by sample id, and has to be
    the same when a scan is to be repeated. Rows that are `held_out` enter the moments and are never selected. Reads files and
    computes for seconds: call it in a thread.

    Raises:
        DamagedVersion: a file cannot be read or is no part of the table, or its rows are not in order.
        TooManyRows: the rules ask for something that must hold more rows than `rows_held_max`.
        SeveralRulers: quality counts, and not all rows were judged by the same ruler.
    """
    ruler_hash = _ruler(table, limits) if rules.low_quality is not None else ""
    thresholds = _thresholds(table, rules, retracted, limits, held_out)
    tally = Tally(rules, thresholds, limits.rows_held_max)
    selected = next(write_shards(_selected(table, tally, retracted, limits, held_out), folder, _ONE_FILE), None)
    merge = tally.merge()
    collapsed = _written(table, merge.leaving, folder, limits)
    held_in = _written(table, merge.held_in, folder, limits)
    if selected is not None and held_in is not None:
        selected = next(write_shards(_held_in(selected, held_in), folder, _ONE_FILE), None)
    return Selection(tally.summary(ruler_hash), selected, collapsed)


def _ruler(table: Sequence[SignalFile], limits: ScanLimits) -> str:
    """The one ruler that the rows' quality was judged by; empty where none is known."""
    found: set[str] = set()
    for batch in read_batches(table, (RULER,), limits.batch_rows):
        found.update(batch[RULER].drop_null().unique().to_pylist())
    if len(found) > 1:
        named = ", ".join(sorted(each[:12] for each in found)[:_RULERS_NAMED_MAX])
        raise SeveralRulers(
            f"the rows were judged by {len(found)} rulers ({named}): the judge changed while the survey ran, and no threshold "
            "can be taken over both. Abort the round and start another"
        )
    return found.pop() if found else ""


def _thresholds(
    table: Sequence[SignalFile],
    rules: SelectionRules,
    retracted: Mapping[str, int],
    limits: ScanLimits,
    held_out: HeldOut | None,
) -> tuple[Threshold, ...]:
    surveys = surveys_of(rules, limits.rows_held_max)
    columns = number_columns(rules.mode) + (("sample_id", "revision") if retracted else ())
    for batch in read_batches(table, (*columns, *_prompts(held_out)), limits.batch_rows):
        rows = signal_rows(batch, rules.mode, retracted, held_out)
        for survey in surveys:
            survey.add(rows)
    return tuple(survey.threshold() for survey in surveys)


def _prompts(held_out: HeldOut | None) -> tuple[str, ...]:
    return () if held_out is None else ("prompt_hash",)


def _selected(
    table: Sequence[SignalFile], tally: Tally, retracted: Mapping[str, int], limits: ScanLimits, held_out: HeldOut | None
) -> Iterator[pa.Table]:
    """The selection in the order of the table; every row passes the tally."""
    mode = tally.rules.mode
    keys = ("merge_key",) if mode is Mode.MIDDO_COMPAT else ()
    columns = ("sample_id", "revision", *number_columns(mode), *keys, *_prompts(held_out))
    for batch in read_batches(table, columns, limits.batch_rows):
        rows = signal_rows(batch, mode, retracted, held_out)
        bits = tally.add(rows, merge_keys(batch["merge_key"]) if keys else None)
        yield _selection_table(batch, rows, bits, tally.rules)


def _selection_table(batch: pa.RecordBatch, rows: SignalRows, bits: npt.NDArray[np.uint8], rules: SelectionRules) -> pa.Table:
    places = [np.flatnonzero(flags) for flags in owned(bits, rules).values()]
    names = np.repeat(np.arange(len(places)), [len(each) for each in places])
    order = np.argsort(np.concatenate(places), kind="stable")
    chosen = np.concatenate(places)[order]
    columns = {
        "sample_id": batch["sample_id"].take(pa.array(chosen)),
        "revision": batch["revision"].take(pa.array(chosen)),
        "axis": pa.array(list(Axis), pa.string()).take(pa.array(names[order])),
        "beyond": _AXES_BY_BITS.take(pa.array(bits[chosen])),
    }
    numbers = {
        name: pa.array(getattr(rows, name)[chosen], from_pandas=True) for name in ("loss_post", "loss_pre", "density", "quality")
    }
    is_compat = rules.mode is Mode.MIDDO_COMPAT
    marks = np.concatenate([
        beside(bits[rows], axis) & is_compat for axis, rows in zip(Axis, places, strict=True)
    ])[order]  # fmt: skip
    return pa.table(columns | numbers | {ADDS: pa.array(marks)}, schema=SELECTION)


def _written(table: Sequence[SignalFile], flags: Flags, folder: Path, limits: ScanLimits) -> LocalShard | None:
    return next(write_shards(_rows_of(table, flags, limits), folder, _ONE_FILE), None) if flags.any() else None


def _held_in(selected: LocalShard, held_in: LocalShard) -> Iterator[pa.Table]:
    """The selection, where rewrites of rows that stay all the same stand beside them."""
    staying = pq.read_table(held_in.path, columns=["sample_id"])["sample_id"].combine_chunks()
    for batch in read_shard(selected.path, selected.shard, None, ScanLimits().batch_rows):
        adds = pc.or_(batch[ADDS], pc.is_in(batch["sample_id"], value_set=staying))
        yield pa.Table.from_batches([batch]).set_column(batch.schema.get_field_index(ADDS), SELECTION.field(ADDS), adds)


def _rows_of(table: Sequence[SignalFile], flags: Flags, limits: ScanLimits) -> Iterator[pa.Table]:
    """The flagged rows by id and revision."""
    start = 0
    for batch in read_batches(table, COLLAPSED.names, limits.batch_rows):
        found = batch.filter(pa.array(flags[start : start + batch.num_rows]))
        start += batch.num_rows
        yield pa.Table.from_batches([found]).cast(COLLAPSED)
