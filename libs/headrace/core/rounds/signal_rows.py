"""A stretch of a round's signal table as columns of numbers: what thresholds and selection are computed from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.core.rounds.moments import Floats
from headrace.core.rounds.rules import Axis

Flags = npt.NDArray[np.bool_]

NUMBER_MAX = 1e100
"""A number of larger size is no measurement: it counts as absent, like infinity."""


@dataclass(frozen=True, slots=True)
class SignalRows:
    """Rows in the order of the table; a number that is absent is NaN.

    Losses are in nats per response token; `density` is a mean of cosines, -1 to 1; `quality` is 0 to 10, in mode MIDDO_COMPAT
    that of `paper_quality`. `not_made` marks rows without signals, `retracted` those that were taken back since, `held_out` those
    that are kept from training, to measure by (None: no row): none of them is ever selected.
    """

    loss_post: Floats
    loss_pre: Floats
    density: Floats
    quality: Floats
    not_made: Flags
    retracted: Flags
    held_out: Flags | None = None

    def __len__(self) -> int:
        return len(self.not_made)

    @property
    def selectable(self) -> Flags:
        """Which rows may be selected at all."""
        kept_apart = self.not_made | self.retracted
        return ~(kept_apart if self.held_out is None else kept_apart | self.held_out)

    def measurements(self, columns: Sequence[str]) -> Floats:
        """The named columns side by side; what is no measurement is NaN."""
        values = np.column_stack([getattr(self, name) for name in columns])
        values[~(np.abs(values) <= NUMBER_MAX)] = np.nan
        return values


def paper_quality(scores: Floats) -> Floats:
    """Quality as the authors' code computes it: prompt and response averaged, then the three averages.

    `scores`, 0 to 10, has a column for each of JUDGED. One that could not be read from the judge's reply counts as 0, as it does
    there: the worst, not the absent.
    """
    read = np.nan_to_num(scores, nan=0.0)
    each = (read[:, :3] + read[:, 3:]) / 2
    quality: Floats = (each[:, 0] + each[:, 1] + each[:, 2]) / 3
    return quality


def columns_of(axis: Axis, *, has_base: bool) -> tuple[str, ...]:
    """Which columns the axis compares; a row lies beyond the threshold when all of them do."""
    if axis is Axis.HARD:
        return ("loss_pre", "loss_post") if has_base else ("loss_post",)
    return ("density",) if axis is Axis.SPARSE else ("quality",)


def merge_key_of(instruction: str, output: str) -> str:
    """What the authors' merge knows a row by: SHA-256, lower-case hex, of instruction and output; the input does not count."""
    canonical = json.dumps([instruction, output], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
