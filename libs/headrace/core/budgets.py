"""What may be spent on model calls: reserved before a call at its worst, settled after it at what it was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens of prompts and replies, and money in the currency of the endpoints' prices; None is unknown, never zero.

    Of an allowance None does not limit. `role` is whose calls are meant, empty: all calls together.
    """

    tokens: int | None = 0
    money: float | None = 0.0
    role: str = ""

    def plus(self, other: "Spend") -> "Spend":
        """Both together, in this one's role; what is unknown in one is unknown in the sum."""
        tokens = None if self.tokens is None or other.tokens is None else self.tokens + other.tokens
        money = None if self.money is None or other.money is None else self.money + other.money
        return Spend(tokens, money, self.role)

    def share(self, parts: int) -> "Spend":
        """Of an allowance one of so many equal parts; of one that is overspent nothing."""
        tokens = None if self.tokens is None else max(0, self.tokens) // parts
        return Spend(tokens, None if self.money is None else max(0.0, self.money) / parts, self.role)


def of_role(spends: Iterable[Spend], role: str) -> Spend | None:
    """The one of a role, None where there is none."""
    return next((each for each in spends if each.role == role), None)


def fits(amount: float | None, limit: float | None) -> bool:
    """Whether so much is within a limit. No limit is None; nothing is within 0, and what is unknown within no limit at all."""
    return limit is None or (limit > 0 and amount is not None and amount <= limit)


def lacking(allowed: Sequence[Spend], needed: Sequence[Spend]) -> list[tuple[Spend, Spend]]:
    """The allowances that do not suffice, each with what is needed in its role; where nothing is needed, each does."""
    pairs = [(each, of_role(needed, each.role)) for each in allowed]
    return [
        (limit, amount)
        for limit, amount in pairs
        if amount is not None and not (fits(amount.tokens, limit.tokens) and fits(amount.money, limit.money))
    ]


class OverBudget(Exception):
    """A call might cost more than is left."""


@dataclass(slots=True)
class _Amount:
    """One limited amount: `limit` None does not limit, 0 forbids every call."""

    name: str
    limit: float | None
    spent: float = 0.0
    reserved: float = 0.0

    def require(self, worst: float | None) -> None:
        limit = self.limit
        if limit is None or fits(None if worst is None else self.spent + self.reserved + worst, limit):
            return
        if worst is None:
            raise OverBudget(f"{self.name} are limited, and nobody knows what a call costs: set its price")
        if limit <= 0:
            raise OverBudget(f"the budget of {self.name} is {limit:g}")
        raise OverBudget(
            f"{self.spent:g} of {limit:g} {self.name} are spent and {self.reserved:g} reserved; this call may take {worst:g}"
        )

    def settle(self, worst: float | None, actual: float | None) -> None:
        foreseen = worst or 0.0
        self.reserved = max(0.0, self.reserved - foreseen)
        self.spent += foreseen if actual is None else actual


class Budget:
    """So many tokens and so much money, each without a limit where None, and what is spent of them.

    `setting` names in errors where both limits come from.
    """

    def __init__(self, tokens: int | None = None, money: float | None = None, setting: str = "") -> None:
        self._tokens = _Amount(f"tokens ({setting}.tokens)" if setting else "tokens", tokens)
        self._money = _Amount(f"money ({setting}.money)" if setting else "money", money)

    @property
    def is_limited(self) -> bool:
        """Whether a call can be too much for it."""
        return self._tokens.limit is not None or self._money.limit is not None

    def require(self, worst: Spend) -> None:
        """Raise OverBudget where so much might exceed a limit, or a limited amount cannot be foretold."""
        self._tokens.require(worst.tokens)
        self._money.require(worst.money)

    def reserve(self, worst: Spend) -> None:
        """Set the worst case aside; `settle` it exactly once.

        Raises:
            OverBudget: as `require`; then nothing is set aside.
        """
        self.require(worst)
        self._tokens.reserved += worst.tokens or 0
        self._money.reserved += worst.money or 0.0

    def settle(self, worst: Spend, actual: Spend) -> None:
        """Take what was reserved back and book what the call cost; what is unknown is booked at its worst."""
        self._tokens.settle(worst.tokens, actual.tokens)
        self._money.settle(worst.money, actual.money)

    @property
    def tokens_left(self) -> int | None:
        """What is not spent; None without a limit."""
        limit = self._tokens.limit
        return None if limit is None else max(0, round(limit - self._tokens.spent))

    @property
    def money_left(self) -> float | None:
        """As `tokens_left`."""
        limit = self._money.limit
        return None if limit is None else max(0.0, limit - self._money.spent)
