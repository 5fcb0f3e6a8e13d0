"""What a rewrite cost and may still cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

from headrace.core.budgets import Budget, OverBudget, Spend
from headrace.core.chat import Call, Hindrance, NotMade, Outcome
from headrace.core.dossiers import Cost, Dossier, Rewrite
from headrace.core.ports.chat_model import ChatModel

STAGE = "refinement"
BUDGET = "budget"
"""The reason of a rewrite that its allowance, or its round's budget, did not suffice for."""
_NOTHING = Spend()


def summed(costs: Sequence[Cost]) -> Cost:
    """Several costs as one of the stage; what is unknown in one is unknown in the sum, as is money of two currencies."""
    currencies = {cost.currency for cost in costs if cost.money is not None}
    money = _sum([cost.money for cost in costs]) if len(currencies) <= 1 else None
    return Cost(
        STAGE,
        seconds=_sum([cost.seconds for cost in costs]),
        prompt_tokens=_whole(_sum([cost.prompt_tokens for cost in costs])),
        completion_tokens=_whole(_sum([cost.completion_tokens for cost in costs])),
        money=money,
        currency=next(iter(currencies)) if money is not None and currencies else "",
    )


def tokens_of(cost: Cost) -> int | None:
    """Prompt and completion tokens together; None where either is unknown."""
    if cost.prompt_tokens is None or cost.completion_tokens is None:
        return None
    return cost.prompt_tokens + cost.completion_tokens


def spent_so_far(dossier: Dossier) -> tuple[Cost, ...]:
    """What every attempt cost up to and including the one that led to this dossier."""
    earlier = dossier.rewrite.spent if dossier.rewrite is not None else ()
    return (*earlier, *(cost for cost in dossier.costs if cost.stage == STAGE))


def spent_by_role(rewrite: Rewrite, spent: Sequence[Cost]) -> tuple[Spend, ...]:
    """What a rewrite's attempts, which cost `spent`, spent in the roles that were called or are limited.

    Empty where an earlier release made one of them, and nobody knows.
    """
    return rewrite.roles_spent or tuple(Spend(role=each.role) for each in rewrite.roles_allowed if not spent)


def setting_of(role: str) -> str:
    """Where a policy says what a round may spend in a role, or where it is empty in all."""
    return f"rounds.budget.roles.{role}" if role else "rounds.budget"


class AllowedChat:
    """A chat model within what one rewrite and its further attempts may still spend, in all and by role. As `ChatModel`.

    Each call is held against its worst case before it is made; what a made one cost and nobody knows counts as its worst. A try
    that is sent and not answered may have to be paid, so it is repeated only while what is left pays for one more.
    """

    def __init__(self, chat: ChatModel, worst_of: Callable[[Call], Spend], rewrite: Rewrite) -> None:
        self._chat = chat
        self._worst_of = worst_of
        self._rewrite = rewrite
        allowed = (Spend(rewrite.tokens_allowed, rewrite.money_allowed), *rewrite.roles_allowed)
        self._budgets = {each.role: Budget(each.tokens, each.money, setting_of(each.role)) for each in allowed}
        self._spent = {each.role: each for each in spent_by_role(rewrite, rewrite.spent)}
        self._spent_before = Spend(None, None) if rewrite.spent and not self._spent else Spend()

    @property
    def is_limited(self) -> bool:
        """Whether there is anything that a call could be too much for."""
        return any(each.is_limited for each in self._budgets.values())

    def shortfall(self, calls: Sequence[Call]) -> tuple[tuple[Spend, ...], str]:
        """What these calls may cost at their worst, in all and in limited roles, and why what is left does not suffice for it.

        Empty where it does.
        """
        worsts = [(call.role, self._worst_of(call)) for call in calls]
        called = {"", *(role for role, _ in worsts)}
        needed = tuple(
            reduce(Spend.plus, [worst for of, worst in worsts if role in {"", of}], Spend(role=role))
            for role in self._budgets
            if role in called
        )
        try:
            for each in needed:
                self._budgets[each.role].require(each)
        except OverBudget as refused:
            return needed, f"this rewrite: {refused}"
        return needed, ""

    async def ask(self, call: Call) -> Outcome:
        """As `ChatModel.ask`; OVER_BUDGET where the call might cost more than is left."""
        worst = self._worst_of(call)
        budgets = [each for role in ("", call.role) if (each := self._budgets.get(role)) is not None and each.is_limited]
        tries = _tries(budgets, worst)
        try:
            for budget in budgets:
                budget.require(worst)
        except OverBudget as refused:
            return NotMade(Hindrance.OVER_BUDGET, f"this rewrite: {refused}")
        for budget in budgets:
            budget.reserve(worst)
        outcome = await self._chat.ask(call if tries is None else replace(call, unanswered_max=tries))
        cost = outcome.cost
        actual = _NOTHING if cost is None else Spend(tokens_of(cost), cost.money)
        for budget in budgets:
            budget.settle(worst, actual)
        before = self._spent.get(call.role) or Spend(self._spent_before.tokens, self._spent_before.money, call.role)
        self._spent[call.role] = before.plus(actual)
        return outcome

    @property
    def rewrite(self) -> Rewrite:
        """The rewrite, with what later attempts may still spend, and with what was spent by role so far."""
        total, *roles = (Spend(each.tokens_left, each.money_left, role) for role, each in self._budgets.items())
        spent = tuple(self._spent[role] for role in sorted(self._spent))
        return replace(
            self._rewrite,
            tokens_allowed=total.tokens,
            money_allowed=total.money,
            roles_allowed=tuple(roles),
            roles_spent=spent,
        )


def _tries(budgets: Sequence[Budget], worst: Spend) -> int | None:
    """How many tries at a call what is left pays for, one at least; None where nothing limits them."""
    lefts = [pair for each in budgets for pair in ((each.tokens_left, worst.tokens), (each.money_left, worst.money))]
    found = [int(left / amount) for left, amount in lefts if left is not None and amount]
    return max(1, min(found)) if found else None


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _whole(amount: float | None) -> int | None:
    return None if amount is None else int(amount)
