"""Rewrites samples: a prompt and its answer are asked for; what comes is a new revision, or the reason why there is none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from headrace.core.budgets import Spend
from headrace.core.chat import Call, Hindrance, Sampling
from headrace.core.chat_answers import Answer, NoAnswer, answer_of
from headrace.core.dossiers import Cost, Dossier, Rewrite
from headrace.core.events import Emit, Event, Reject, Result, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.chat_model import ChatModel, KeptReplies
from headrace.core.rounds.acceptance import gate_of
from headrace.core.rounds.attempts import ended, not_begun
from headrace.core.rounds.facts import Ending
from headrace.core.rounds.rewrite_costs import BUDGET, AllowedChat, summed
from headrace.core.rounds.rewriting import NotRewritable, Recipes, RewritingLimits, Task, task_for
from headrace.core.rounds.rules import Axis, Mode
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.topics import ROUND_PROGRESSED, SUBMITTED

REPLIES_MAX = 3
"""How often a reply is asked for until one can be read."""

_AXES = frozenset(Axis)


@dataclass(frozen=True, slots=True)
class Refinement:
    """What the handler needs: standing policies, the models and their kept replies, what they are told, and limits.

    `worst_of` says the most that a call may cost. `checked` returns once the models were found to answer; from then on it costs
    nothing.
    """

    policy_of: Callable[[str], Policy | None]
    chat: ChatModel
    replies: KeptReplies
    worst_of: Callable[[Call], Spend]
    checked: Callable[[], Awaitable[None]]
    recipes: Recipes
    limits: RewritingLimits
    refining: Sampling
    answering: Sampling


async def refine(events: Sequence[Event[RefinementRequested]], refinement: Refinement) -> list[Result]:
    """One SUBMITTED event for each rewrite that was made, one ROUND_PROGRESSED event for each that was not.

    Calls of the batch run at the same time. A batch that is handled again pays for nothing that was paid before, and comes to
    the same rewrites.

    Raises:
        Stop: an endpoint or Kafka is gone, or an endpoint does not serve us as its settings stand.
    """
    await refinement.checked()
    await refinement.replies.catch_up({event.first_position.partition for event in events})
    results = await asyncio.gather(*(_result(event, refinement) for event in events), return_exceptions=True)
    for result in results:  # only once all have ended: what was paid for is kept by then
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def _result(event: Event[RefinementRequested], refinement: Refinement) -> Result:
    rewrite = event.body.rewrite
    if rewrite.axis not in _AXES:
        return Reject("UnknownAxis", f"this release knows no axis {rewrite.axis[:40]!r}")
    policy = refinement.policy_of(rewrite.parent.dataset_id)
    if policy is None:
        return no_policy(rewrite.parent.dataset_id)
    try:
        gate = gate_of(rewrite, policy.rounds)
        task = task_for(rewrite, refinement.recipes, refinement.limits, prompt_alone=gate.mode == Mode.MIDDO_COMPAT)
    except NotRewritable as why:
        return _not_made(rewrite, why.obstacle, (), str(why))
    return await _Attempt(event, task, refinement).result()


class _Attempt:
    """The calls of one attempt at one rewrite, and what they cost."""

    def __init__(self, event: Event[RefinementRequested], task: Task, refinement: Refinement) -> None:
        self._event = event
        self._task = task
        self._refinement = refinement
        self._chat = AllowedChat(refinement.chat, refinement.worst_of, task.rewrite)
        self._costs: tuple[Cost, ...] = ()

    async def result(self) -> Result:
        task, refinement = self._task, self._refinement
        call, read_prompt = task.refining_call(refinement.refining)
        if (none := self._none_paid_for(call)) is not None:
            return none
        prompt = await self._asked(call, read_prompt)
        if isinstance(prompt, NoAnswer):
            return self._none(prompt)
        call, read_answer = task.answering_call(prompt.value, refinement.answering)
        answer = await self._asked(call, read_answer)
        if isinstance(answer, NoAnswer):
            return self._none(answer)
        rewrite = replace(task.rewrite, tokens_allowed=self._chat.tokens_left, money_allowed=self._chat.money_left)
        dossier = Dossier(
            task.sample(prompt.value, answer.value),
            self._event.time,  # not the clock's: the same when it is handled again
            costs=(summed(self._costs),),
            rewrite=rewrite,
        )
        return Emit((Send(SUBMITTED, dossier),))

    def _none_paid_for(self, call: Call) -> Result | None:
        """Half a rewrite is money lost: it is begun where its allowance pays for both calls at their worst.

        The new prompt is taken to have as many bytes as the refiner may write tokens.
        """
        task, refinement = self._task, self._refinement
        if task.rewrite.tokens_allowed is None and task.rewrite.money_allowed is None:
            return None
        answering, _ = task.answering_call("?" * refinement.refining.max_tokens, refinement.answering)
        needed, why = self._chat.shortfall([call, answering])
        if not why:
            return None
        if task.rewrite.attempt > 1:
            return _not_made(task.rewrite, BUDGET, (), why)
        return Emit((Send(ROUND_PROGRESSED, not_begun(task.rewrite, needed, why)),))

    async def _asked(self, call: Call, read: Callable[[str], str]) -> Answer[str] | NoAnswer:
        rewrite = self._task.rewrite
        asked = replace(
            call,
            attempt=(rewrite.attempt - 1) * REPLIES_MAX + 1,
            partition=self._event.first_position.partition,
            account=f"{rewrite.parent.dataset_id}/{rewrite.round_id}",
        )
        answer = await answer_of(self._chat, asked, read, attempts_max=REPLIES_MAX)
        self._costs = (*self._costs, *answer.costs)
        return answer

    def _none(self, why: NoAnswer) -> Result:
        reason = BUDGET if why.hindrance is Hindrance.OVER_BUDGET else why.hindrance
        return _not_made(self._task.rewrite, reason, self._costs, why.detail)


def _not_made(rewrite: Rewrite, reason: str, costs: tuple[Cost, ...], detail: str) -> Emit:
    """A rewrite that was not made says nothing about its parent, which stays as it is."""
    return Emit((Send(ROUND_PROGRESSED, ended(rewrite, Ending.NOT_MADE, reason, (*rewrite.spent, *costs), detail)),))
