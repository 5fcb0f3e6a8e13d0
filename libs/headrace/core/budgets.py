"""What may be spent on model calls, by account: reserved before a call at its worst, settled after it at what it was."""

from dataclasses import dataclass, field
from enum import StrEnum


class Resource(StrEnum):
    """What a budget may limit."""

    TOKENS = "tokens"
    MONEY = "money"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that an account may spend. None does not limit; 0 forbids every call.

    Tokens are those of prompts and replies, money is in the currency of the endpoints' prices, seconds are those that calls
    take, one beside the other.
    """

    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None

    def of(self, resource: Resource) -> float | None:
        limit: float | None = getattr(self, resource.value)
        return limit


@dataclass(frozen=True, slots=True)
class Spend:
    """Amounts; None is unknown, never zero."""

    tokens: int | None = 0
    money: float | None = 0.0
    seconds: float | None = 0.0

    def of(self, resource: Resource) -> float | None:
        amount: float | None = getattr(self, resource.value)
        return amount


class OverBudget(Exception):
    """A call might cost more than its account has left.

    `may_pass` says that it would fit if calls on their way turn out cheaper than their worst.
    """

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True)
class Reservation:
    """The worst that one call may cost, set aside; `settle` it exactly once."""

    account: str
    worst: Spend


@dataclass(slots=True)
class _Account:
    spent: dict[Resource, float] = field(default_factory=lambda: dict.fromkeys(Resource, 0.0))
    reserved: dict[Resource, float] = field(default_factory=lambda: dict.fromkeys(Resource, 0.0))


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
        for resource in Resource:
            limit = limits.of(resource)
            if limit is not None:
                _require_room(account, resource, limit, worst.of(resource), kept)
        for resource in Resource:
            kept.reserved[resource] += worst.of(resource) or 0.0
        return Reservation(account, worst)

    def settle(self, reservation: Reservation, actual: Spend) -> None:
        """Take the reservation back and book what the call cost; what is unknown is booked at its worst."""
        kept = self._account(reservation.account)
        for resource in Resource:
            worst = reservation.worst.of(resource) or 0.0
            amount = actual.of(resource)
            kept.reserved[resource] = max(0.0, kept.reserved[resource] - worst)
            kept.spent[resource] += worst if amount is None else amount

    def book(self, account: str, actual: Spend) -> None:
        """What was spent without a reservation: by an earlier process. The unknown counts as nothing here."""
        kept = self._account(account)
        for resource in Resource:
            kept.spent[resource] += actual.of(resource) or 0.0

    def spent(self, account: str) -> Spend:
        """What the account has spent so far."""
        kept = self._account(account).spent
        return Spend(round(kept[Resource.TOKENS]), kept[Resource.MONEY], kept[Resource.SECONDS])

    def _account(self, name: str) -> _Account:
        return self._accounts.setdefault(name, _Account())


def _require_room(account: str, resource: Resource, limit: float, worst: float | None, kept: _Account) -> None:
    spent, reserved = kept.spent[resource], kept.reserved[resource]
    if worst is None:
        raise OverBudget(f"{account}: {resource} are limited, and nobody knows what a call costs: set its price", may_pass=False)
    if limit <= 0:
        raise OverBudget(f"{account}: its budget of {resource} is {limit:g}", may_pass=False)
    if spent + reserved + worst > limit:
        raise OverBudget(
            f"{account}: {spent:g} of {limit:g} {resource} are spent and {reserved:g} reserved; this call may take {worst:g}",
            may_pass=spent + worst <= limit,
        )
