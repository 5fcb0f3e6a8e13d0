"""What a rewrite cost and may still cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from headrace.core.budgets import BudgetLedger, Limits, OverBudget, Spend
from headrace.core.chat import Call, Hindrance, NotMade, Outcome
from headrace.core.dossiers import Cost, Dossier, Rewrite
from headrace.core.ports.chat_model import ChatModel

STAGE = "refinement"
BUDGET = "budget"
"""The reason of a rewrite that its allowance, or its round's budget, did not suffice for."""
_ACCOUNT = "this rewrite"


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
        self._limits = Limits(tokens=rewrite.tokens_allowed, money=rewrite.money_allowed)
        self._ledger = BudgetLedger()

    def shortfall(self, calls: Sequence[Call]) -> tuple[Spend, str]:
        """What these calls may cost together at their worst, and why what is left does not suffice; empty where it does."""
        worsts = [self._worst_of(call) for call in calls]
        tokens, money, seconds = (_sum(amounts) for amounts in zip(*(worst.amounts for worst in worsts), strict=True))
        needed = Spend(_whole(tokens), money, seconds)
        try:
            self._ledger.settle(self._ledger.reserve(_ACCOUNT, needed, self._limits), Spend())
        except OverBudget as refused:
            return needed, str(refused)
        return needed, ""

    async def ask(self, call: Call) -> Outcome:
        """As `ChatModel.ask`; OVER_BUDGET where the call might cost more than is left."""
        worst = self._worst_of(call)
        tries = self._tries(worst)
        try:
            reserved = self._ledger.reserve(_ACCOUNT, worst, self._limits)
        except OverBudget as refused:
            return NotMade(Hindrance.OVER_BUDGET, str(refused))
        outcome = await self._chat.ask(call if tries is None else replace(call, unanswered_max=tries))
        cost = outcome.cost
        self._ledger.settle(reserved, Spend() if cost is None else Spend(tokens_of(cost), cost.money, cost.seconds))
        return outcome

    def _tries(self, worst: Spend) -> int | None:
        """How many tries at a call what is left pays for, one at least; None where nothing limits them."""
        lefts = [(self.tokens_left, worst.tokens), (self.money_left, worst.money)]
        found = [int(left / amount) for left, amount in lefts if left is not None and amount]
        return max(1, min(found)) if found else None

    @property
    def tokens_left(self) -> int | None:
        """What later attempts may spend; None without a limit."""
        return None if self._limits.tokens is None else max(0, self._limits.tokens - (self._ledger.spent(_ACCOUNT).tokens or 0))

    @property
    def money_left(self) -> float | None:
        """As `tokens_left`."""
        return None if self._limits.money is None else max(0.0, self._limits.money - (self._ledger.spent(_ACCOUNT).money or 0.0))


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _whole(amount: float | None) -> int | None:
    return None if amount is None else int(amount)
