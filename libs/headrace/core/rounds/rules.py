"""What a round is told to select: a mode, and for each axis a coefficient or a share."""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """HEADRACE is ours; MIDDO_COMPAT does what the authors' code does, its odd choices included (see `thresholds`)."""

    HEADRACE = "headrace"
    MIDDO_COMPAT = "middo_compat"


class Axis(StrEnum):
    """What a sample can be selected for; the same names stand in `Origin.axis`."""

    HARD = "hard"
    SPARSE = "sparse"
    LOW_QUALITY = "low_quality"


OWNERS = (Axis.LOW_QUALITY, Axis.HARD, Axis.SPARSE)
"""Who owns a sample that lies beyond several thresholds, first one first.

A poor prompt is often hard because it is poor, and a simpler poor prompt is still poor: quality comes before difficulty. Both
replace the sample, while the sparse axis keeps it and sets a new one beside it, which would spread the defect: it comes last.
"""

M_MAX = 1_000.0
"""Of n values none lies further than the root of n from their mean, in deviations: beyond this nothing is left to ask for."""


@dataclass(frozen=True, slots=True)
class AxisRule:
    """One of two: `m`, deviations from the mean, or `target_share`, 0 to 1 of the rows measured on the axis.

    A target is a ceiling: `m` is solved so that as many rows as ties allow lie beyond the bound, never more than the target.

    Raises:
        ValueError: neither or both are given, `m` is not within -M_MAX and M_MAX, or the share is not within 0 and 1.
    """

    m: float | None = None
    target_share: float | None = None

    def __post_init__(self) -> None:
        if (self.m is None) == (self.target_share is None):
            raise ValueError("an axis has either m or target_share; to switch it off, leave the axis out")
        if self.m is not None and not -M_MAX <= self.m <= M_MAX:
            raise ValueError(f"m is {self.m}: it must be within {-M_MAX:g} and {M_MAX:g}")
        if self.target_share is not None and not 0 <= self.target_share <= 1:
            raise ValueError(f"target_share is {self.target_share}: it must be within 0 and 1")


ONE_DEVIATION = AxisRule(m=1.0)


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """What a round selects; an axis that is None is off.

    `k` is how many neighbours the densities were taken over: it is recorded with the result, nothing is computed from it.
    `has_base` says whether the round measures a base model: without one the hard axis is its condition on the current model
    alone, which is ours and not the authors'.

    Raises:
        ValueError: mode MIDDO_COMPAT asks for the hard axis without a base model, or `k` is below 1.
    """

    mode: Mode = Mode.HEADRACE
    hard: AxisRule | None = ONE_DEVIATION
    sparse: AxisRule | None = ONE_DEVIATION
    low_quality: AxisRule | None = ONE_DEVIATION
    k: int = 2
    has_base: bool = True

    def __post_init__(self) -> None:
        if self.mode is Mode.MIDDO_COMPAT and self.hard is not None and not self.has_base:
            raise ValueError("mode middo_compat compares the losses of two models: name a base model, or switch hard off")
        if self.k < 1:
            raise ValueError(f"k is {self.k}: a density is taken over at least one neighbour")

    def rule_of(self, axis: Axis) -> AxisRule | None:
        """The rule in force; the authors' code asks for the m of the hard axis and then takes 1 whatever the answer."""
        rule = {Axis.HARD: self.hard, Axis.SPARSE: self.sparse, Axis.LOW_QUALITY: self.low_quality}[axis]
        if rule is not None and axis is Axis.HARD and self.mode is Mode.MIDDO_COMPAT:
            return ONE_DEVIATION
        return rule
