"""Held-out losses: which rows count, and the same rows before and after."""

from typing import Any

import numpy as np
import pytest

from headrace.adapters.rounds.held_out_loss import MeanLoss, compared_losses, held_out_loss
from headrace.core.versions import DamagedVersion
from tests.fakes.signal_tables import a_table, arrow_of, in_memory


def table_of(rows: int, seed: int = 1, **columns) -> dict[str, Any]:
    return a_table(rows, seed) | {"not_made": np.zeros(rows, dtype=bool)} | columns


def test_the_mean_is_over_held_out_rows_with_a_loss():
    """Rows without signals, or with no number, are no part of it; of no rows there is no mean."""
    losses = np.array([1.0, 2.0, np.nan, 4.0, 8.0])
    arrow = arrow_of(table_of(5, loss_post=losses, not_made=np.array([False, False, False, False, True])))
    hashes = arrow["prompt_hash"].to_pylist()
    files = in_memory(arrow, [2], 2)
    assert held_out_loss(files, lambda prompt: prompt != hashes[0]) == MeanLoss(3.0, 2)
    assert held_out_loss(files, lambda _: False) == MeanLoss(None, 0)


def test_before_and_after_are_of_the_same_rows():
    """A row that one of the tables lacks, or has no loss in, counts in neither mean."""
    before = table_of(9, loss_post=np.arange(9, dtype=float))
    after_losses = np.arange(9, dtype=float) - 0.5
    after_losses[4] = np.nan
    after = arrow_of(table_of(9, loss_post=after_losses)).slice(2, 5)  # rows 2 to 6
    found = compared_losses(in_memory(arrow_of(before), [4], 3), in_memory(after, [], 2))
    assert found == (MeanLoss(4.0, 4), MeanLoss(3.5, 4))
    nothing = compared_losses(in_memory(arrow_of(before), [], 3), [])
    assert nothing == (MeanLoss(None, 0), MeanLoss(None, 0))


def test_a_table_out_of_order_is_damaged():
    """Side by side is only sound in order."""
    arrow = arrow_of(table_of(4))
    with pytest.raises(DamagedVersion, match="order"):
        compared_losses(in_memory(arrow.take([1, 0, 2, 3]), [], 4), in_memory(arrow, [], 4))
