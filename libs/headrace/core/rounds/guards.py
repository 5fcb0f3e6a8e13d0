"""Guards against collapse: what a round is about to commit, held against the policy's bounds. Pure.

Who wrote which row is known from the survey, and of each rewrite's parent from the rewrite. Of the rows that evictions will take
it is not known yet: they count as written by people. What is computed here is therefore never better than what will be.
"""

from dataclasses import dataclass

from headrace.core.reasons import Reason
from headrace.core.rounds.facts import RewriteEnded
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.rules import Axis, Mode
from headrace.core.rounds.state import RoundState

NEAR_DUPLICATE = Reason.NEAR_DUPLICATE.value
REPLACING = frozenset({Axis.HARD, Axis.LOW_QUALITY})
"""Axes whose rewrites take their parent's place."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """The next version as it will be if the round commits now; rows written by people are at least `human_rows`."""

    rows: int
    model_written: int
    human_rows: int
    near_duplicates: int
    rewrites_ended: int

    @property
    def model_written_share(self) -> float:
        return self.model_written / self.rows if self.rows else 0.0

    @property
    def near_duplicate_share(self) -> float:
        return self.near_duplicates / self.rewrites_ended if self.rewrites_ended else 0.0


@dataclass(frozen=True, slots=True)
class Tripped:
    """A guard that does not hold, and the numbers."""

    reason: RoundReason
    detail: str


def evictions(state: RoundState, rules: RoundPolicy) -> int:
    """How many rows are to leave so that the scale is held: as many as came beside sparse points.

    The authors' merge pays for nothing, and drops what shares a key with another row.
    """
    if rules.mode is Mode.MIDDO_COMPAT:
        return state.selected.collapsed if state.selected else 0
    return state.rewrites.accepted.get(Axis.SPARSE, 0) if rules.scale == "held" else 0


def dropped(state: RoundState, rules: RoundPolicy) -> int:
    """How many parents leave because no rewrite could beat them."""
    return state.rewrites.human_unmended + state.rewrites.model_unmended if rules.unmended == "drop" else 0


def is_near_duplicate(ended: RewriteEnded) -> bool:
    """Whether the rewrite ended because something too close to it is there already."""
    return ended.reason == NEAR_DUPLICATE


def prospect(state: RoundState, rules: RoundPolicy) -> Prospect:
    """What the round is about to commit."""
    rewrites, leaves = state.rewrites, evictions(state, rules)
    surveyed = state.rows.sent
    written = min(surveyed, state.selected.model_written_rows if state.selected else 0)
    added = rewrites.accepted.get(Axis.SPARSE, 0) + rewrites.beside
    human_left, model_left = (rewrites.human_unmended, rewrites.model_unmended) if rules.unmended == "drop" else (0, 0)
    return Prospect(
        rows=max(0, surveyed + added - leaves - human_left - model_left),
        model_written=max(0, written + rewrites.human_replaced + added - model_left),
        human_rows=max(0, surveyed - written - rewrites.human_replaced - human_left - leaves),
        near_duplicates=rewrites.near_duplicates,
        rewrites_ended=rewrites.ended - len(rewrites.lost),
    )


def tripped(state: RoundState, rules: RoundPolicy) -> Tripped | None:
    """The first guard that does not hold and that nobody has waived; None where all do."""
    ahead, guards = prospect(state, rules), rules.guards
    found = []
    if ahead.model_written_share > guards.model_written_share_max:
        told = f"{ahead.model_written} of {ahead.rows} rows, {ahead.model_written_share:.3f}"
        limit = f"above guards.model_written_share_max ({guards.model_written_share_max:g})"
        found.append(Tripped(RoundReason.MODEL_WRITTEN_SHARE, f"models would have written {told}: {limit}"))
    if ahead.human_rows < guards.human_rows_min:
        told = f"{ahead.human_rows} rows written by people would be left"
        found.append(Tripped(RoundReason.HUMAN_ROWS, f"{told}: below guards.human_rows_min ({guards.human_rows_min})"))
    if ahead.near_duplicate_share > guards.near_duplicate_share_max:
        told = (
            f"{ahead.near_duplicates} of {ahead.rewrites_ended} rewrites, {ahead.near_duplicate_share:.3f}, were near-duplicates"
        )
        limit = f"above guards.near_duplicate_share_max ({guards.near_duplicate_share_max:g})"
        found.append(Tripped(RoundReason.NEAR_DUPLICATE_SHARE, f"{told}: {limit}"))
    return next((each for each in found if each.reason not in state.waived), None)
