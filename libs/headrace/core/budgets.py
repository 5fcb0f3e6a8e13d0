"""What may be spent on model calls, by account: reserved before a call at its worst, settled after it at what it was."""

from dataclasses import dataclass, field

Amounts = tuple[float | None, float | None, float | None]
"""Tokens, money and seconds."""

_NAMES = ("tokens", "money", "seconds")


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that an account may spend. None does not limit; 0 forbids every call.

    Tokens are those of prompts and replies, money is in the currency of the endpoints' prices, seconds are those that calls
    take, one beside the other.
    """

    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None

    @property
    def amounts(self) -> Amounts:
        return self.tokens, self.money, self.seconds


@dataclass(frozen=True, slots=True)
class Spend:
    """Amounts; None is unknown, never zero."""

    tokens: int | None = 0
    money: float | None = 0.0
    seconds: float | None = 0.0

    @property
    def amounts(self) -> Amounts:
        return self.tokens, self.money, self.seconds


class OverBudget(Exception):
    """A call might cost more than its account has left."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The worst that one call may cost, set aside; `settle` it exactly once."""

    account: str
    worst: Spend


@dataclass(slots=True)
class _Account:
    spent: list[float] = field(default_factory=lambda: [0.0] * len(_NAMES))
    reserved: list[float] = field(default_factory=lambda: [0.0] * len(_NAMES))


class BudgetLedger:
    """Spent and reserved amounts of every account."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def reserve(self, account: str, worst: Spend, limits: Limits) -> Reservation:
        """Set the worst case aside.

        Raises:
            OverBudget: with it an account might exceed a limit, or a limited amount cannot be foretold.
        """
        kept = self._account(account)
        for index, (limit, amount) in enumerate(zip(limits.amounts, worst.amounts, strict=True)):
            if limit is not None:
                _require_room(account, index, limit, amount, kept)
        for index, amount in enumerate(worst.amounts):
            kept.reserved[index] += amount or 0.0
        return Reservation(account, worst)

    def settle(self, reservation: Reservation, actual: Spend) -> None:
        """Take the reservation back and book what the call cost; what is unknown is booked at its worst."""
        kept = self._account(reservation.account)
        for index, (worst, amount) in enumerate(zip(reservation.worst.amounts, actual.amounts, strict=True)):
            kept.reserved[index] = max(0.0, kept.reserved[index] - (worst or 0.0))
            kept.spent[index] += (worst or 0.0) if amount is None else amount

    def spent(self, account: str) -> Spend:
        """What the account has spent so far."""
        tokens, money, seconds = self._account(account).spent
        return Spend(round(tokens), money, seconds)

    def _account(self, name: str) -> _Account:
        kept = self._accounts.get(name)
        if kept is None:
            kept = self._accounts[name] = _Account()
        return kept


def _require_room(account: str, index: int, limit: float, worst: float | None, kept: _Account) -> None:
    spent, reserved = kept.spent[index], kept.reserved[index]
    if limit > 0 and worst is not None and spent + reserved + worst <= limit:
        return
    what = _NAMES[index]
    if worst is None:
        raise OverBudget(f"{account}: {what} are limited, and nobody knows what a call costs: set its price")
    if limit <= 0:
        raise OverBudget(f"{account}: its budget of {what} is {limit:g}")
    raise OverBudget(
        f"{account}: {spent:g} of {limit:g} {what} are spent and {reserved:g} reserved; this call may take {worst:g}"
    )
