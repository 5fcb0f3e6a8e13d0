"""Which rows may leave because their neighbours say the same: how a round pays for what it adds.

Pairs of neighbours are taken from the closest on; of each pair whose members are both there, one leaves and the other stays for
good. So whoever leaves has a near neighbour that stays, and no neighbourhood loses its last row.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.core.rounds.densities import Floats, Rows
from headrace.core.rounds.moments import moments_of
from headrace.core.rounds.signal_rows import Flags


@dataclass(frozen=True, slots=True)
class Neighbouring:
    """The rows of a survey's table with their neighbours, nearest first.

    `neighbours` are rows of the table, -1 where there is none, `cosines` belong to them. `model_written` rows leave before
    those that people wrote where all else is equal. `kept` rows never leave, but others may leave for them; rows that are
    `apart` neither leave nor stand for others: they are not there any more, or not trained on.
    """

    neighbours: Rows
    cosines: Floats
    density: Floats
    model_written: Flags
    kept: Flags
    apart: Flags


def most_redundant(rows: Neighbouring, wanted: int) -> list[int]:
    """The rows that are to leave, most redundant first, at most `wanted`: fewer where not enough are redundant.

    A pair is redundant where its cosine is at least the mean of all rows' nearest cosines: closer than is usual in this set. Of a
    pair the member that a model wrote leaves, else the denser one, else the later. Asking for fewer gives the beginning of what
    asking for more gives.
    """
    leaving: list[int] = []
    gone = rows.apart.copy()
    stays = rows.kept.copy()
    for one, other in _redundant_pairs(rows):
        if len(leaving) >= wanted:
            break
        if gone[one] or gone[other]:
            continue
        free = [row for row in (one, other) if not stays[row]]
        if free:
            leaver = max(free, key=lambda row: (rows.model_written[row], _number(float(rows.density[row])), row))
            gone[leaver] = True
            stays[other if leaver == one else one] = True
            leaving.append(leaver)
    return leaving


def _redundant_pairs(rows: Neighbouring) -> npt.NDArray[np.int64]:
    """Pairs closer than is usual, closest first; of equally close ones those with a row that a model wrote and may leave."""
    ones = np.repeat(np.arange(len(rows.neighbours)), rows.neighbours.shape[1])
    others, cosines = rows.neighbours.ravel(), rows.cosines.ravel()
    nearest = rows.cosines[:, 0] if rows.cosines.size else rows.cosines.ravel()
    usual = moments_of(nearest[np.isfinite(nearest)]).mean
    if usual is None:
        return np.empty((0, 2), dtype=np.int64)
    chosen = (others >= 0) & (cosines >= usual)
    pairs = np.column_stack([np.minimum(ones, others), np.maximum(ones, others)])[chosen]
    cosines = cosines[chosen]
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    cosines = cosines[first]
    may_leave = rows.model_written & ~rows.kept & ~rows.apart
    order = np.lexsort((pairs[:, 1], pairs[:, 0], ~may_leave[pairs].any(axis=1), -cosines))
    ordered: npt.NDArray[np.int64] = pairs[order]
    return ordered


def _number(value: float) -> float:
    return -np.inf if np.isnan(value) else value
