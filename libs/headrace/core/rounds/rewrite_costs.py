"""What a rewrite cost and may still cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace

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


class AllowedChat:
    """A chat model within what one rewrite and its further attempts may still spend. As `ChatModel`.

    Each call is held against its worst case before it is made; what a made one cost and nobody knows counts as its worst. A try
    that is sent and not answered may have to be paid, so it is repeated only while what is left pays for one more.
    """

    def __init__(self, chat: ChatModel, worst_of: Callable[[Call], Spend], rewrite: Rewrite) -> None:
        self._chat = chat
        self._worst_of = worst_of
        self._budget = Budget(rewrite.tokens_allowed, rewrite.money_allowed)

    def shortfall(self, calls: Sequence[Call]) -> tuple[Spend, str]:
        """What these calls may cost together at their worst, and why what is left does not suffice; empty where it does."""
        worsts = [self._worst_of(call) for call in calls]
        needed = Spend(_whole(_sum([worst.tokens for worst in worsts])), _sum([worst.money for worst in worsts]))
        try:
            self._budget.require(needed)
        except OverBudget as refused:
            return needed, f"this rewrite: {refused}"
        return needed, ""

    async def ask(self, call: Call) -> Outcome:
        """As `ChatModel.ask`; OVER_BUDGET where the call might cost more than is left."""
        worst = self._worst_of(call)
        tries = self._tries(worst)
        try:
            self._budget.reserve(worst)
        except OverBudget as refused:
            return NotMade(Hindrance.OVER_BUDGET, f"this rewrite: {refused}")
        outcome = await self._chat.ask(call if tries is None else replace(call, unanswered_max=tries))
        cost = outcome.cost
        self._budget.settle(worst, _NOTHING if cost is None else Spend(tokens_of(cost), cost.money))
        return outcome

    def _tries(self, worst: Spend) -> int | None:
        """How many tries at a call what is left pays for, one at least; None where nothing limits them."""
        lefts = [(self.tokens_left, worst.tokens), (self.money_left, worst.money)]
        found = [int(left / amount) for left, amount in lefts if left is not None and amount]
        return max(1, min(found)) if found else None

    @property
    def tokens_left(self) -> int | None:
        """What later attempts may spend; None without a limit."""
        return self._budget.tokens_left

    @property
    def money_left(self) -> float | None:
        """As `tokens_left`."""
        return self._budget.money_left


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _whole(amount: float | None) -> int | None:
    return None if amount is None else int(amount)
