"""The loss on rows held out of training, from signal tables: before a round, and after it on the same rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from headrace.adapters.rounds.signal_table import HeldOut, SignalFile, held_out_flags, read_batches
from headrace.core.rounds.moments import Moments, moments_of
from headrace.core.rounds.signal_rows import NUMBER_MAX

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """Mean response loss in nats per token over so many rows, exact but for the last rounding; None over none."""

    mean: float | None
    rows: int


def held_out_loss(table: Sequence[SignalFile], held_out: HeldOut) -> MeanLoss:
    """The mean over a table's held-out rows that have a loss. Raises DamagedVersion where the table cannot be read."""
    sums = Moments()
    for batch in read_batches(table, ("prompt_hash", "loss_post", "not_made"), _BATCH_ROWS):
        measured = batch.filter(pc.and_(pc.is_valid(batch["loss_post"]), pc.is_null(batch["not_made"])))
        losses = measured["loss_post"].to_numpy(zero_copy_only=False)
        sums += moments_of(losses[held_out_flags(measured["prompt_hash"], held_out) & (np.abs(losses) <= NUMBER_MAX)])
    return MeanLoss(sums.mean, sums.count)


def compared_losses(before: Sequence[SignalFile], after: Sequence[SignalFile]) -> tuple[MeanLoss, MeanLoss]:
    """The means over the rows, by id and revision, that have a loss in both tables.

    Both are read side by side in the order of their ids: memory does not grow with them.

    Raises:
        DamagedVersion: a table cannot be read, or is not in order.
    """
    sums = [Moments(), Moments()]
    pairs: list[tuple[float, float]] = []
    for pair in _joined(_losses(before), _losses(after)):
        pairs.append(pair)
        if len(pairs) >= _BATCH_ROWS:
            sums, pairs = _added(sums, pairs), []
    sums = _added(sums, pairs)
    one, other = (MeanLoss(each.mean, each.count) for each in sums)
    return one, other


_Row = tuple[tuple[str, int], float]


def _losses(table: Sequence[SignalFile]) -> Iterator[_Row]:
    for batch in read_batches(table, ("sample_id", "revision", "loss_post", "not_made"), _BATCH_ROWS):
        made = batch.filter(pc.and_(pc.is_valid(batch["loss_post"]), pc.is_null(batch["not_made"])))
        ids, revisions, losses = (made[name].to_pylist() for name in ("sample_id", "revision", "loss_post"))
        for sample_id, revision, loss in zip(ids, revisions, losses, strict=True):
            if abs(loss) <= NUMBER_MAX:
                yield (sample_id, revision), loss


def _joined(one: Iterator[_Row], other: Iterator[_Row]) -> Iterator[tuple[float, float]]:
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        if left[0] == right[0]:
            yield left[1], right[1]
            left, right = next(one, None), next(other, None)
        elif _order(left) < _order(right):
            left = next(one, None)
        else:
            right = next(other, None)


def _order(row: _Row) -> tuple[bytes, int]:
    """Tables are in the order of the ids' bytes."""
    return row[0][0].encode("utf-8", "surrogatepass"), row[0][1]


def _added(sums: Sequence[Moments], pairs: Sequence[tuple[float, float]]) -> list[Moments]:
    values = np.array(pairs, dtype=np.float64).reshape(len(pairs), 2)
    return [each + moments_of(values[:, place]) for place, each in enumerate(sums)]
