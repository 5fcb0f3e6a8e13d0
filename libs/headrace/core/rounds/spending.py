"""What a round's budget still pays for: what each rewrite may spend, and which of those put off can be begun after all. Pure.

What is left is shared out evenly over the rewrites that are out at the same time, so they cannot overspend together. Where its
share does not suffice to begin with, a rewrite says what would, at its worst, and spends nothing. It is asked for again, in the
selection's order, beside so many others that each share suffices; what none of them used is there for the next ones. All of it
holds of the round's budget and of those of single roles alike: a rewrite is begun where each of them pays for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.core.budgets import Spend, fits, lacking, of_role
from headrace.core.rounds.counting import tallied
from headrace.core.rounds.counts import PutOff, RewriteCounts
from headrace.core.rounds.facts import Ending
from headrace.core.rounds.policy import Budget
from headrace.core.rounds.rewrite_costs import BUDGET, setting_of
from headrace.core.rounds.state import Phase, RoundState


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a round's budget; None where it does not limit. `in_time` says that its seconds are not over.

    `roles` is what is left to roles that have a budget of their own.
    """

    tokens: int | None
    money: float | None
    in_time: bool = True
    roles: tuple[Spend, ...] = ()

    @property
    def amounts(self) -> tuple[Spend, ...]:
        """What is left in all, and by role."""
        return (Spend(self.tokens, self.money), *self.roles)

    @property
    def is_spent(self) -> bool:
        """Whether nothing at all can be begun with it. Which roles a rewrite needs is known once one was not begun."""
        return not self.in_time or (self.tokens is not None and self.tokens < 1) or (self.money is not None and self.money <= 0)

    def share(self, rewrites: int) -> "Left":
        """What each of so many rewrites, one at least, may spend."""
        total, *roles = (each.share(rewrites) for each in self.amounts)
        return Left(total.tokens, total.money, self.in_time, tuple(roles))

    def pays(self, put_off: PutOff) -> bool:
        """Whether a rewrite can be begun with it."""
        return not self.is_spent and not lacking(self.amounts, put_off.needed)


def is_limited(budget: Budget) -> bool:
    """Whether there is a budget: then one page of rewrites is out at a time."""
    return budget.seconds is not None or any(each != Spend(None, None, each.role) for each in budget.limits())


def left_of(budget: Budget, state: RoundState, now: float) -> Left:
    """What is left while no rewrite is under way; those that are may spend all that they were allowed."""
    charged = state.rewrites.charged
    total, *roles = (_less(limit, of_role(charged, limit.role) or Spend()) for limit in budget.limits())
    in_time = budget.seconds is None or refining_s(state, now) < budget.seconds
    return Left(total.tokens, total.money, in_time, tuple(roles))


def _less(limit: Spend, charged: Spend) -> Spend:
    tokens = None if limit.tokens is None else limit.tokens - (charged.tokens or 0)
    return Spend(tokens, None if limit.money is None else limit.money - (charged.money or 0.0), limit.role)


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
    if not left.in_time:
        return "the budget's seconds were over before it was begun"
    return "; ".join(each for pair in lacking(left.amounts, put_off.needed) for each in _shortages(*pair))


def _shortages(left: Spend, needed: Spend) -> list[str]:
    """What each amount that does not suffice lacks, and the setting that it is of."""
    told, setting = [], setting_of(left.role)
    worst = f"{f' for calls in role {left.role}' if left.role else ''} at its worst to be begun"
    if not fits(needed.tokens, left.tokens):
        told.append(f"needs {needed.tokens} tokens{worst}; {left.tokens} of {setting}.tokens were left")
    if needed.money is not None and not fits(needed.money, left.money):
        told.append(f"needs {needed.money:.4g} in money{worst}; {left.money:.4g} of {setting}.money were left")
    elif not fits(needed.money, left.money):
        told.append(f"{setting}.money is limited, and nobody knows what a call costs: set the endpoint's prices")
    return told
