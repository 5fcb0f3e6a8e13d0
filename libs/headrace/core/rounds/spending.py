"""What a round's budget still pays for: what each rewrite may spend, and which of those put off can be begun after all. Pure.

What is left is shared out evenly over the rewrites that are out at the same time, so they cannot overspend together. Where its
share does not suffice to begin with, a rewrite says what would, at its worst, and spends nothing. It is asked for again, in the
selection's order, beside so many others that each share suffices; what none of them used is there for the next ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.core.rounds.counting import tallied
from headrace.core.rounds.counts import PutOff, RewriteCounts
from headrace.core.rounds.facts import Ending
from headrace.core.rounds.policy import Budget
from headrace.core.rounds.rewrite_costs import BUDGET
from headrace.core.rounds.state import Phase, RoundState


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a round's budget; None where it does not limit. `in_time` says that its seconds are not over."""

    tokens: int | None
    money: float | None
    in_time: bool = True

    @property
    def is_spent(self) -> bool:
        """Whether nothing at all can be begun with it."""
        return not self.in_time or (self.tokens is not None and self.tokens < 1) or (self.money is not None and self.money <= 0)

    def share(self, rewrites: int) -> "Left":
        """What each of so many rewrites, one at least, may spend."""
        tokens = None if self.tokens is None else max(0, self.tokens) // rewrites
        return Left(tokens, None if self.money is None else max(0.0, self.money) / rewrites, self.in_time)

    def pays(self, put_off: PutOff) -> bool:
        """Whether a rewrite can be begun with it."""
        if self.is_spent or (self.money is not None and put_off.money_needed is None):
            return False
        has_tokens = self.tokens is None or put_off.tokens_needed <= self.tokens
        return has_tokens and (self.money is None or (put_off.money_needed or 0.0) <= self.money)


def is_limited(budget: Budget) -> bool:
    """Whether there is a budget: then one page of rewrites is out at a time."""
    return any(limit is not None for limit in (budget.tokens, budget.money, budget.seconds))


def left_of(budget: Budget, state: RoundState, now: float) -> Left:
    """What is left while no rewrite is under way; those that are may spend all that they were allowed."""
    counts = state.rewrites
    return Left(
        None if budget.tokens is None else budget.tokens - counts.tokens_charged,
        None if budget.money is None else budget.money - counts.money_charged,
        in_time=budget.seconds is None or refining_s(state, now) < budget.seconds,
    )


def refining_s(state: RoundState, now: float) -> float:
    """Seconds by the clock that the round was refining, times when it was frozen left out."""
    ways = [*((each.phase, each.since) for each in state.passed), (state.phase, state.phase_since)]
    ends = [since for _, since in ways[1:]] + [now]
    return sum(max(0.0, end - since) for (phase, since), end in zip(ways, ends, strict=True) if phase is Phase.REFINING)


def affordable(put_off: Sequence[PutOff], left: Left) -> tuple[PutOff, ...]:
    """Those of them, first ones first, that can be begun at the same time; none only where not a single one can."""
    each_alone = [each for each in put_off if left.pays(each)]
    together = 0
    while together < len(each_alone):
        share = left.share(together + 1)
        if not all(share.pays(each) for each in each_alone[: together + 1]):
            break
        together += 1
    return tuple(each_alone[:together])


def given_up(counts: RewriteCounts, left: Left) -> RewriteCounts:
    """The counts once nothing pays for those put off: they were not made, and never begun."""
    for each in counts.put_off:
        counts = tallied(counts, each.axis, Ending.NOT_MADE, BUDGET, _lacking(each, left))
    return replace(counts, put_off=(), not_begun=counts.not_begun + len(counts.put_off))


def not_asked_for(state: RoundState) -> int:
    """How many rows of the selection were never begun on; while the round refines they may still be."""
    total = state.selected.total if state.selected else 0
    return max(0, total - state.rewrites.rows_asked) + len(state.rewrites.put_off) + state.rewrites.not_begun


def _lacking(put_off: PutOff, left: Left) -> str:
    if left.money is not None and put_off.money_needed is None:
        return "money is limited, and nobody knows what a call costs: set the endpoint's prices"
    if not left.in_time:
        return "the budget's seconds were over before it was begun"
    needed, has = [f"{put_off.tokens_needed} tokens"], [f"{left.tokens} tokens"] if left.tokens is not None else []
    if put_off.money_needed is not None and left.money is not None:
        needed, has = [*needed, f"{put_off.money_needed:.4g} in money"], [*has, f"{left.money:.4g} in money"]
    return f"needs {', '.join(needed)} at its worst to be begun; {', '.join(has)} were left"
