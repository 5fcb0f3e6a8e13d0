"""What a round selected, counted while the table passes, with every number that led to it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.rounds.rules import Axis, SelectionRules
from headrace.core.rounds.selection import COMBINATIONS, Keys, Sizes, beyond_bits, is_beyond, merged, owned, sizes
from headrace.core.rounds.signal_rows import Flags, SignalRows
from headrace.core.rounds.thresholds import Threshold, TooManyRows


@dataclass(frozen=True, slots=True)
class AxisOutcome:
    """An axis' threshold and what became of it: `rows_beyond` lie beyond and may be selected, `rows_selected` are.

    `share` is `rows_beyond` over the rows measured. Rows beyond that are not selected belong to another axis: see OWNERS.
    """

    threshold: Threshold
    rows_beyond: int
    rows_selected: int
    share: float


@dataclass(frozen=True, slots=True)
class SelectionSummary:
    """What a round selected, with every number that led to it.

    `rows` are those of the table; `rows_not_made` have no signals, `rows_retracted` were taken back since, `rows_held_out` are
    kept from training and never selected. `overlaps` counts rows by exactly which thresholds they lie beyond. `rows_after` is
    the size of the next version if every rewrite is accepted and nothing is evicted, `rows_after_held` with the scale held.
    `ruler_hash` is what all rows' quality was judged by, empty where none was or it is not known.
    """

    rules: SelectionRules
    rows: int
    rows_not_made: int
    rows_retracted: int
    axes: tuple[AxisOutcome, ...]
    overlaps: Mapping[str, int]
    sizes: Sizes
    rows_after: int
    rows_after_held: int
    rows_held_out: int = 0
    ruler_hash: str = ""

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)

    def canonical_json(self) -> str:
        """The summary as JSON text: equal summaries have equal texts."""
        return json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Merge:
    """What the authors' merge does beside replacing rows.

    `leaving` are rows, selected for nothing that replaces them, that leave because another has their merge key; `held_in` are
    rows that are to be replaced and stay all the same, because others hold their key in.
    """

    leaving: Flags
    held_in: Flags


class Tally:
    """Counts what passes, and holds what the merge of mode MIDDO_COMPAT needs of each row."""

    def __init__(self, rules: SelectionRules, thresholds: Sequence[Threshold], rows_held_max: int) -> None:
        self.rules = rules
        self._thresholds = thresholds
        self._rows_held_max = rows_held_max
        self._rows = self._rows_not_made = self._rows_retracted = self._rows_held_out = 0
        self._by_bits = np.zeros(1 << len(Axis), dtype=np.int64)
        self._selected = dict.fromkeys(Axis, 0)
        self._keys: list[Keys] = []
        self._bits: list[npt.NDArray[np.uint8]] = []
        self._apart: list[Flags] = []
        self._collapsed = 0

    def add(self, rows: SignalRows, keys: Keys | None) -> npt.NDArray[np.uint8]:
        """Count the rows and tell beyond which thresholds they lie. Raises TooManyRows where keys are too many to be held."""
        bits = beyond_bits(rows, self._thresholds)
        self._rows += len(rows)
        self._rows_not_made += int(np.count_nonzero(rows.not_made))
        self._rows_retracted += int(np.count_nonzero(rows.retracted))
        self._rows_held_out += 0 if rows.held_out is None else int(np.count_nonzero(rows.held_out))
        self._by_bits += np.bincount(bits, minlength=len(self._by_bits))
        for axis, flags in owned(bits, self.rules).items():
            self._selected[axis] += int(np.count_nonzero(flags))
        if keys is not None:
            if self._rows > self._rows_held_max:
                raise TooManyRows(
                    f"mode middo_compat merges at most {self._rows_held_max:,} rows (rows_held_max), and the table has more: "
                    "raise it, or select in mode headrace"
                )
            self._keys.append(keys)
            self._bits.append(bits)
            self._apart.append(np.zeros(len(rows), dtype=np.bool_) if rows.held_out is None else rows.held_out)
        return bits

    def merge(self) -> Merge:
        """What the authors' merge does beside replacing; held-out rows take no part in it, nothing leaves for them."""
        if not self._keys:
            nothing = np.zeros(0, dtype=np.bool_)
            return Merge(nothing, nothing)
        bits, apart = np.concatenate(self._bits), np.concatenate(self._apart)
        kept = apart.copy()
        kept[~apart] = merged(np.concatenate(self._keys)[~apart], bits[~apart])
        untouched = ~(is_beyond(bits, Axis.HARD) | is_beyond(bits, Axis.LOW_QUALITY))
        self._collapsed = int(np.count_nonzero(untouched)) - int(np.count_nonzero(kept))
        return Merge(leaving=untouched & ~kept, held_in=kept & ~untouched)

    def summary(self, ruler_hash: str = "") -> SelectionSummary:
        """The counts of everything that passed, and whose ruler judged it."""
        overlaps = {name: int(self._by_bits[bits]) for name, bits in COMBINATIONS.items()}
        size = sizes(self.rules, overlaps, self._rows, self._collapsed)
        return SelectionSummary(
            rules=self.rules,
            rows=self._rows,
            rows_not_made=self._rows_not_made,
            rows_retracted=self._rows_retracted,
            axes=tuple(self._outcome(threshold) for threshold in self._thresholds),
            overlaps=overlaps,
            sizes=size,
            rows_after=size.after(scale_held=False),
            rows_after_held=size.after(scale_held=True),
            rows_held_out=self._rows_held_out,
            ruler_hash=ruler_hash,
        )

    def _outcome(self, threshold: Threshold) -> AxisOutcome:
        every = np.arange(len(self._by_bits), dtype=np.uint8)
        beyond = int(self._by_bits[is_beyond(every, threshold.axis)].sum())
        share = beyond / threshold.rows_measured if threshold.rows_measured else 0.0
        return AxisOutcome(threshold, beyond, self._selected[threshold.axis], share)
