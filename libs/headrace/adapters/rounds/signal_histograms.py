"""The histograms of a round's signals: counted once with the selection and stored, and sketched from some rows before that."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.parquet_rows import read_table
from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.table_reading import SignalTableReading
from headrace.adapters.rounds.signal_table import SignalFile
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.rounds.moments import Floats
from headrace.core.rounds.report.distributions import (
    Histogram,
    HistogramCount,
    frame_of,
    histograms_from,
    histograms_json,
)
from headrace.core.rounds.rules import Mode
from headrace.core.rounds.stored import histograms_key, measured_key
from headrace.core.rounds.surveys import Survey
from headrace.core.rounds.tally import SelectionSummary
from headrace.core.staged import Segment
from headrace.core.versions import DamagedVersion

SIGNALS = ("loss_post", "density", "quality")
"""The columns of the signal table that are drawn while a round runs: one for each axis."""
SEGMENTS_SKETCHED_MAX = 64
"""Of the segments measured so far so many are read, those whose names have the least hashes: as others come few change."""

_MEASURED = ("loss_post", "quality")
_STORED_BYTES_MAX = 256 * 1024


async def store_histograms(
    objects: ObjectStore, survey: Survey, table: Sequence[SignalFile], summary: SelectionSummary, mode: Mode
) -> None:
    """Count the table's signals, their thresholds in the frame, and store them: what `round watch` draws without the table."""
    bounds = [bound for outcome in summary.axes for bound in outcome.threshold.bounds]
    marks = {bound.column: (bound.bound,) for bound in bounds if bound.bound is not None}

    def counted() -> Mapping[str, Histogram]:
        if not table:
            return {}
        numbers, _ = SignalTableReading(table[0], None, mode, ReportLimits()).numbers(marks)
        return {column: numbers.histograms[column] for column in SIGNALS if column in numbers.histograms}

    await objects.put(histograms_key(survey), histograms_json(await asyncio.to_thread(counted)).encode())


async def stored_histograms(objects: ObjectStore, survey: Survey) -> Mapping[str, Histogram]:
    """By column; none where an earlier release selected.

    Raises:
        DamagedVersion: they cannot be read.
        Stop: the store is gone.
    """
    key = histograms_key(survey)
    try:
        return histograms_from((await objects.get(key, bytes_max=_STORED_BYTES_MAX)).body)
    except ObjectMissing:
        return {}
    except (ObjectTooLarge, ValueError) as error:
        raise DamagedVersion(f"{key}: no histograms: {error}") from error


class Sketch:
    """The signals of some of the rows that a survey has measured so far; memory and reads are those of a few segments."""

    def __init__(self) -> None:
        self._read: dict[str, Mapping[str, Floats]] = {}

    async def look(self, objects: ObjectStore, survey: Survey) -> Mapping[str, Histogram]:
        """Histograms by column; of what was read before nothing is read again.

        Raises:
            DamagedVersion: a segment cannot be read.
            Stop: the store is gone.
        """
        listed = await MeasuredRows(objects).segments(survey)
        keys = sorted((measured_key(survey, each) for each in _distinct(listed)), key=_draw)[:SEGMENTS_SKETCHED_MAX]
        known = self._read
        self._read = {key: known[key] if key in known else await asyncio.to_thread(_numbers, objects, key) for key in keys}
        return {column: found for column in _MEASURED if (found := self._histogram(column)) is not None}

    def _histogram(self, column: str) -> Histogram | None:
        values = np.concatenate([np.empty(0), *(numbers[column] for numbers in self._read.values())])
        known = values[~np.isnan(values)]
        frame = frame_of(known, float(known.min()), float(known.max())) if len(known) else None
        if frame is None:
            return None
        count = HistogramCount(frame)
        count.add(known, np.zeros(len(known), dtype=bool))
        return count.histogram()


def _distinct(segments: Sequence[Segment]) -> list[Segment]:
    """Of segments that begin with the same row, as after a kill, the longest."""
    longest = {(each.stream, each.first): each for each in sorted(segments, key=lambda each: each.last)}
    return list(longest.values())


def _draw(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _numbers(objects: ObjectStore, key: str) -> Mapping[str, Floats]:
    table = read_table(objects, key, _MEASURED)
    return {column: table[column].to_numpy().astype(np.float64) for column in _MEASURED}
