"""How far a round is: what it has counted of its rows and of its rewrites."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.core.budgets import Spend
from headrace.core.rounds.rules import Axis


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How far a survey is; `lost` are those among the dead letters, as "sample/revision".

    `returned` are those that were sent back from there and measured after all: whatever is told of them first, each counts once.
    """

    sent: int = 0
    all_sent: bool = False
    measured: int = 0
    not_made: int = 0
    lost: tuple[str, ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    returned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PutOff:
    """A rewrite, by its row of the selection, that was not begun, and the least allowance that it could be begun with.

    `money_needed` is None where no prices are known; `roles_needed` is what is needed of that in the roles that are limited.
    """

    row: int
    axis: Axis
    tokens_needed: int
    money_needed: float | None = None
    roles_needed: tuple[Spend, ...] = ()

    @property
    def needed(self) -> tuple[Spend, ...]:
        """What is needed in all, and by role."""
        return (Spend(self.tokens_needed, self.money_needed), *self.roles_needed)


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many rewrites ended for one reason, and what one of them said; `ending` is "rejected" or "not_made"."""

    ending: str
    reason: str
    count: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class RewriteCounts:
    """How far refinement is, by axis.

    `lost` are rewrites among the dead letters, as "parent/axis", `returned` those that were sent back and ended after all.
    `rows_asked` of the selection were asked for, `requested` of them are known to be on their way or over. `cost_unknown`
    counts ends whose tokens are not known: `tokens` and `money` are the sums of those that are. What is charged to the budgets
    also has what the unknown ones were allowed: `tokens_allowed_each` and `money_allowed_each`, as of the latest page.
    `roles_spent` are the known sums by role, as far as roles were told of; `roles_charged` and `roles_allowed_each` are of roles
    with a budget of their own.
    `human_replaced` are parents written by people that an accepted rewrite replaced; of rejected rewrites that were to replace
    their parent, `human_unmended` and `model_unmended` say who wrote it. `beside` are accepted rewrites that stand beside their
    parent, though their axis replaces. `put_off` are those of the latest page, of `page_rows`, that could not be begun with what
    they were allowed, in the selection's order; `not_begun` never were. `reasons` tallies what was rejected or not made.
    """

    requested: int = 0
    all_requested: bool = False
    accepted: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    not_made: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    tokens: int = 0
    money: float = 0.0
    cost_unknown: int = 0
    lost: tuple[str, ...] = ()
    rows_asked: int = 0
    tokens_charged: int = 0
    money_charged: float = 0.0
    tokens_allowed_each: int | None = None
    money_allowed_each: float | None = None
    near_duplicates: int = 0
    human_replaced: int = 0
    human_unmended: int = 0
    model_unmended: int = 0
    returned: tuple[str, ...] = ()
    beside: int = 0
    put_off: tuple[PutOff, ...] = ()
    page_rows: int = 0
    not_begun: int = 0
    reasons: tuple[ReasonCount, ...] = ()
    roles_spent: tuple[Spend, ...] = ()
    roles_charged: tuple[Spend, ...] = ()
    roles_allowed_each: tuple[Spend, ...] = ()

    @property
    def charged(self) -> tuple[Spend, ...]:
        """What is charged to the round's budget, and to those of roles."""
        return (Spend(self.tokens_charged, self.money_charged), *self.roles_charged)

    @property
    def allowed_each(self) -> tuple[Spend, ...]:
        """What each rewrite of the latest page may spend in all, and by role."""
        return (Spend(self.tokens_allowed_each, self.money_allowed_each), *self.roles_allowed_each)

    @property
    def under_way(self) -> int:
        """Rewrites that were requested and whose way is not over; those put off are on no way."""
        return max(0, self.requested - self.ended - len(self.put_off))

    @property
    def ended(self) -> int:
        """Rewrites whose way is over, the lost ones included."""
        return sum(sum(each.values()) for each in (self.accepted, self.rejected, self.not_made)) + len(self.lost)
