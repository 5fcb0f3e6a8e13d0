"""Histograms of columns of any length, counted stretch by stretch in a frame that a few wild values cannot stretch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.rounds.moments import Floats
from headrace.core.rounds.signal_rows import Flags

BINS = 49
"""Bars of a histogram: enough for the shape of a tail, and odd, so that a constant stands in the middle of one."""

_TAIL = 0.005
_ROOM = 0.5
_LEAST_WIDTH = 1e-9


@dataclass(frozen=True, slots=True)
class Frame:
    """The stretch of numbers that is drawn; `low` is below `high`, both are finite."""

    low: float
    high: float


def frame_of(sample: Floats, least: float, greatest: float, marks: Sequence[float] = ()) -> Frame | None:
    """A frame for a column: its middle 99%, half as much on either side where there are values, and the marks that are not far.

    `sample` has some of the column's values, `least` and `greatest` are those of all. None where there is no value.
    """
    if not len(sample):
        return None
    low_tail, high_tail = (float(each) for each in np.quantile(sample, [_TAIL, 1 - _TAIL]))
    room = _ROOM * (high_tail - low_tail)
    low, high = max(least, low_tail - room), min(greatest, high_tail + room)
    near = [mark for mark in marks if low - (high - low) <= mark <= high + (high - low)]
    low, high = min(low, *near, high), max(high, *near, low)
    if high - low <= _LEAST_WIDTH * max(abs(low), abs(high), 1.0):
        room = 0.05 * max(abs(low), abs(high), 1.0)
        low, high = low - room, high + room
    return Frame(low, high)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of equally wide bins between the frame's ends, of all rows and of those `chosen`.

    `below` and `above` are rows outside of the frame, `rows` all that have a number, `least` and `greatest` the extremes.
    """

    frame: Frame
    counts: tuple[int, ...]
    chosen: tuple[int, ...]
    below: int
    above: int
    rows: int
    least: float
    greatest: float


def histograms_json(histograms: Mapping[str, Histogram]) -> str:
    """Histograms by column as canonical JSON."""
    content = {column: asdict(histogram) for column, histogram in histograms.items()}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def histograms_from(text: bytes) -> Mapping[str, Histogram]:
    """What `histograms_json` wrote.

    Raises:
        ValueError: it did not write this.
    """
    try:
        return {column: _histogram_from(each) for column, each in json.loads(text).items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no histograms by column: {error!r}") from error


def _histogram_from(content: Mapping[str, Any]) -> Histogram:
    frame = Frame(float(content["frame"]["low"]), float(content["frame"]["high"]))
    if not frame.low < frame.high or not content["counts"]:
        raise ValueError("a histogram has bars between two ends")
    counts, chosen = (tuple(int(each) for each in content[name]) for name in ("counts", "chosen"))
    below, above, rows = (int(content[name]) for name in ("below", "above", "rows"))
    return Histogram(frame, counts, chosen, below, above, rows, float(content["least"]), float(content["greatest"]))


class HistogramCount:
    """Counts a column into a frame as it passes."""

    def __init__(self, frame: Frame, bins: int = BINS) -> None:
        self._frame = frame
        self._bins = bins
        self._counts = np.zeros(bins, dtype=np.int64)
        self._chosen = np.zeros(bins, dtype=np.int64)
        self._below = self._above = self._rows = 0
        self._least, self._greatest = np.inf, -np.inf

    def add(self, values: Floats, chosen: Flags) -> None:
        """Take a stretch of the column, NaN where there is no number, and which of its rows were chosen."""
        known = ~np.isnan(values)
        values, chosen = values[known], chosen[known]
        if not len(values):
            return
        self._rows += len(values)
        self._least, self._greatest = min(self._least, values.min()), max(self._greatest, values.max())
        below, above = values < self._frame.low, values > self._frame.high
        self._below += int(np.count_nonzero(below))
        self._above += int(np.count_nonzero(above))
        inside = ~(below | above)
        self._counts += self._binned(values[inside])
        self._chosen += self._binned(values[inside & chosen])

    def histogram(self) -> Histogram:
        """What passed so far."""
        return Histogram(
            frame=self._frame,
            counts=tuple(self._counts.tolist()),
            chosen=tuple(self._chosen.tolist()),
            below=self._below,
            above=self._above,
            rows=self._rows,
            least=float(self._least),
            greatest=float(self._greatest),
        )

    def _binned(self, values: Floats) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = np.histogram(values, self._bins, (self._frame.low, self._frame.high))[0].astype(np.int64)
        return counts
