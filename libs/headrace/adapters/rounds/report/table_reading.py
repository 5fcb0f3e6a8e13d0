"""A report's numbers from a signal table of any length: two passes in batches, and a sample of rows drawn by chance."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.selection_scan import SELECTION
from headrace.adapters.rounds.signal_table import SignalFile, number_columns, read_batches, signal_rows
from headrace.adapters.versions.shards import parquet
from headrace.core.rounds.moments import Floats
from headrace.core.rounds.report.contents import CODE, Outcome, Outcomes, Points, TableNumbers
from headrace.core.rounds.report.distributions import Frame, HistogramCount, frame_of
from headrace.core.rounds.rules import OWNERS, Axis, Mode
from headrace.core.rounds.signal_rows import Flags, columns_of
from headrace.core.versions import DamagedVersion

COLUMNS = ("loss_pre", "loss_post", "density", "quality")
_AXIS_OF = {column: axis for axis in Axis for column in columns_of(axis, has_base=True)}
_SEED = 20_250_902
_OTHER = "other reasons"
_REASON_CHARS_MAX = 160


@dataclass(frozen=True, slots=True)
class RowsDrawn:
    """Rows drawn by chance, the same ones each time: ids, and what became of them."""

    sample_ids: pa.Array
    outcome: Outcomes


@dataclass(frozen=True, slots=True)
class _Batch:
    """A stretch of the table: its numbers by column, NaN where there is none, and which of its rows are selected for what."""

    sample_ids: pa.Array
    numbers: Mapping[str, Floats]
    not_made: pa.Array
    selected: Mapping[Axis, Flags]
    drawn: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]


class SignalTableReading:
    """One closed table, and what was selected from it; `selection` is None where nothing was.

    Raises DamagedVersion where a file cannot be read.
    """

    def __init__(self, table: SignalFile, selection: SignalFile | None, mode: Mode, limits: ReportLimits) -> None:
        self._table = table
        self._selection = selection
        self._mode = mode
        self._limits = limits
        with parquet(table.source, table.name) as file:
            self.rows = int(file.metadata.num_rows)
        drawn = min(self.rows, limits.rows_drawn_max)
        self._drawn = np.random.default_rng(_SEED).choice(self.rows, drawn, replace=False) if drawn else np.empty(0, np.int64)

    def numbers(self, marks: Mapping[str, Sequence[float]]) -> tuple[TableNumbers, RowsDrawn]:
        """Histograms of all rows, and points of those drawn; `marks` are numbers that a column's histogram is to show."""
        seen = _FirstPass(self._limits)
        for batch in self._batches():
            seen.add(batch)
        counts = {column: HistogramCount(frame) for column, frame in seen.frames(marks).items()}
        for batch in self._batches():
            for column, count in counts.items():
                count.add(batch.numbers[column], batch.selected[_AXIS_OF[column]])
        numbers = TableNumbers(
            rows=self.rows,
            histograms={column: count.histogram() for column, count in counts.items()},
            losses=seen.losses(),
            not_made=seen.not_made(),
        )
        return numbers, seen.drawn(self._limits.points_max)

    def _batches(self) -> Iterator[_Batch]:
        along = _Selected(self._selection, self._limits.batch_rows)
        columns = ("sample_id", *number_columns(self._mode))
        order = np.argsort(self._drawn)
        places, first = self._drawn[order], 0
        for batch in read_batches([self._table], columns, self._limits.batch_rows):
            start, end = np.searchsorted(places, [first, first + batch.num_rows])
            rows = signal_rows(batch, self._mode, {})
            numbers = {column: rows.measurements([column])[:, 0] for column in COLUMNS}
            if self._mode is Mode.HEADRACE:
                for values in numbers.values():
                    values[rows.not_made] = np.nan
            selected = along.flags(batch["sample_id"])
            yield _Batch(batch["sample_id"], numbers, batch["not_made"], selected, places[start:end] - first, order[start:end])
            first += batch.num_rows


class _Selected:
    """The selection, read alongside the table: both are in the order of sample ids."""

    def __init__(self, selection: SignalFile | None, batch_rows: int) -> None:
        self._batches = _selection_batches(selection, batch_rows) if selection else iter(())
        self._waiting = SELECTION.empty_table().select(["sample_id", "axis"])

    def flags(self, sample_ids: pa.Array) -> Mapping[Axis, Flags]:
        """For each axis which of these rows are selected; to be asked batch by batch, in order."""
        last = sample_ids[-1]
        while not self._waiting.num_rows or pc.less_equal(self._waiting["sample_id"][-1], last).as_py():
            more = next(self._batches, None)
            if more is None:
                break
            self._waiting = pa.concat_tables([self._waiting, more])
        passed = pc.less_equal(self._waiting["sample_id"], last)
        here, self._waiting = self._waiting.filter(passed), self._waiting.filter(pc.invert(passed))
        return {
            axis: np.asarray(pc.is_in(sample_ids, value_set=_ids(here.filter(pc.equal(here["axis"], axis.value)))))
            for axis in Axis
        }


def _ids(table: pa.Table) -> pa.Array:
    return table["sample_id"].combine_chunks()


def _selection_batches(selection: SignalFile, batch_rows: int) -> Iterator[pa.Table]:
    with parquet(selection.source, selection.name) as file:
        try:
            for batch in file.iter_batches(batch_size=batch_rows, columns=["sample_id", "axis"]):
                yield pa.Table.from_batches([batch]).select(["sample_id", "axis"]).cast(_SELECTED)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DamagedVersion(f"{selection.name}: cannot be read: {error}") from error


_SELECTED = pa.schema([SELECTION.field("sample_id"), SELECTION.field("axis")])


class _FirstPass:
    """What is gathered before the histograms: extremes, the rows drawn, and reasons."""

    def __init__(self, limits: ReportLimits) -> None:
        self._limits = limits
        self._extremes = {column: [np.inf, -np.inf] for column in COLUMNS}
        self._both = 0
        self._reasons: Counter[str] = Counter()
        self._ranks: list[npt.NDArray[np.int64]] = []
        self._ids: list[pa.Array] = []
        self._outcomes: list[Outcomes] = []
        self._numbers: dict[str, list[Floats]] = {column: [] for column in COLUMNS}

    def add(self, batch: _Batch) -> None:
        for column, values in batch.numbers.items():
            known = values[~np.isnan(values)]
            if len(known):
                least, greatest = self._extremes[column]
                self._extremes[column] = [min(least, known.min()), max(greatest, known.max())]
            self._numbers[column].append(values[batch.drawn])
        self._both += int(np.count_nonzero(~np.isnan(batch.numbers["loss_pre"] + batch.numbers["loss_post"])))
        self._count_reasons(batch.not_made)
        outcome = np.full(len(batch.not_made), CODE[Outcome.UNTOUCHED])
        for axis in reversed(OWNERS):
            outcome[batch.selected[axis]] = CODE[Outcome(axis.value)]
        self._outcomes.append(outcome[batch.drawn])
        self._ids.append(batch.sample_ids.take(pa.array(batch.drawn)))
        self._ranks.append(batch.ranks)

    def frames(self, marks: Mapping[str, Sequence[float]]) -> Mapping[str, Frame]:
        """What each column's histogram shows; columns without numbers have none."""
        found = {}
        for column, (least, greatest) in self._extremes.items():
            drawn = self._column(column)
            drawn = drawn[~np.isnan(drawn)]
            if least <= greatest:
                sample = drawn if len(drawn) else np.array([least, greatest])
                frame = frame_of(sample, float(least), float(greatest), marks.get(column, ()))
                if frame is not None:
                    found[column] = frame
        return found

    def losses(self) -> Points | None:
        """The two losses of rows drawn; None where no row has both."""
        if not self._both:
            return None
        x, y = self._column("loss_pre"), self._column("loss_post")
        both = np.flatnonzero(~np.isnan(x + y))[: self._limits.points_max]
        return Points(x[both], y[both], self._outcome()[both], self._both)

    def drawn(self, rows: int) -> RowsDrawn:
        """The first so many of the rows drawn."""
        ids = pa.concat_arrays([pa.array([], pa.string()), *self._ids])
        chosen = self._by_rank()[:rows]
        return RowsDrawn(ids.take(pa.array(chosen)), self._outcome()[:rows])

    def not_made(self) -> Mapping[str, int]:
        """The commonest reasons, the others together."""
        commonest = dict(self._reasons.most_common(self._limits.reasons_max))
        commonest[_OTHER] = commonest.get(_OTHER, 0) + self._reasons.total() - sum(commonest.values())
        return {reason: count for reason, count in commonest.items() if count}

    def _count_reasons(self, not_made: pa.Array) -> None:
        for entry in pc.value_counts(not_made.drop_null()).to_pylist():
            reason = entry["values"][:_REASON_CHARS_MAX]
            known = reason in self._reasons or len(self._reasons) < self._limits.reasons_held_max
            self._reasons[reason if known else _OTHER] += entry["counts"]

    def _by_rank(self) -> npt.NDArray[np.int64]:
        return np.argsort(np.concatenate([np.empty(0, np.int64), *self._ranks]))

    def _column(self, column: str) -> Floats:
        """The drawn rows' numbers, in the order in which they were drawn."""
        return np.concatenate([np.empty(0), *self._numbers[column]])[self._by_rank()]

    def _outcome(self) -> Outcomes:
        return np.concatenate([np.empty(0, np.int8), *self._outcomes])[self._by_rank()]
