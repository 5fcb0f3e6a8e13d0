"""What may be spent on model calls: reserved before a call at its worst, settled after it at what it was."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens of prompts and replies, and money in the currency of the endpoints' prices; None is unknown, never zero."""

    tokens: int | None = 0
    money: float | None = 0.0


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
        if limit is None or (limit > 0 and worst is not None and self.spent + self.reserved + worst <= limit):
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
    """So many tokens and so much money, each without a limit where None, and what is spent of them."""

    def __init__(self, tokens: int | None = None, money: float | None = None) -> None:
        self._tokens = _Amount("tokens", tokens)
        self._money = _Amount("money", money)

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
