"""Rewrites samples: a prompt and its answer are asked for, and a second opinion where the round wants one.

What comes is a new revision, or the reason why there is none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from headrace.core.budgets import Spend
from headrace.core.chat import JUDGE, Call, Hindrance, Sampling
from headrace.core.chat_answers import Answer, NoAnswer, Value, answer_of
from headrace.core.dossiers import Cost, Dossier, EndpointJudgement, Rewrite
from headrace.core.events import Emit, Event, Reject, Result, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.chat_model import ChatModel, KeptReplies
from headrace.core.rounds.acceptance import gate_of
from headrace.core.rounds.attempts import ended, not_begun
from headrace.core.rounds.facts import Ending
from headrace.core.rounds.rewrite_costs import BUDGET, AllowedChat, summed
from headrace.core.rounds.rewrite_judging import RewriteJudging
from headrace.core.rounds.rewriting import NotRewritable, Recipes, RewritingLimits, Task, task_for
from headrace.core.rounds.rules import Axis, Mode
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.samples import Sample
from headrace.core.topics import ROUND_PROGRESSED, SUBMITTED

REPLIES_MAX = 3
"""How often a reply is asked for until one can be read."""

_AXES = frozenset(Axis)


@dataclass(frozen=True, slots=True)
class Refinement:
    """What the handler needs: standing policies, the models and their kept replies, what they are told, and limits.

    `worst_of` says the most that a call may cost. `checked` returns once the models were found to answer, those of the roles that
    it is given included; from then on it costs nothing.
    """

    policy_of: Callable[[str], Policy | None]
    chat: ChatModel
    replies: KeptReplies
    worst_of: Callable[[Call], Spend]
    checked: Callable[[Sequence[str]], Awaitable[None]]
    recipes: Recipes
    limits: RewritingLimits
    refining: Sampling
    answering: Sampling
    judging: RewriteJudging


async def refine(events: Sequence[Event[RefinementRequested]], refinement: Refinement) -> list[Result]:
    """One SUBMITTED event for each rewrite that was made, one ROUND_PROGRESSED event for each that was not.

    Calls of the batch run at the same time. A batch that is handled again pays for nothing that was paid before, and comes to
    the same rewrites.

    Raises:
        Stop: an endpoint or Kafka is gone, or an endpoint does not serve us as its settings stand.
    """
    await refinement.checked([JUDGE] if any(_is_judged(event.body.rewrite, refinement) for event in events) else [])
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
    return await _Attempt(event, task, refinement, is_judged=gate.judge_rewrites).result()


def _is_judged(rewrite: Rewrite, refinement: Refinement) -> bool:
    policy = refinement.policy_of(rewrite.parent.dataset_id)
    return policy is not None and gate_of(rewrite, policy.rounds).judge_rewrites


class _Attempt:
    """The calls of one attempt at one rewrite, and what they cost."""

    def __init__(self, event: Event[RefinementRequested], task: Task, refinement: Refinement, *, is_judged: bool) -> None:
        self._event = event
        self._task = task
        self._refinement = refinement
        self._is_judged = is_judged
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
        sample = task.sample(prompt.value, answer.value)
        judged = await self._judged(sample) if self._is_judged else None
        if isinstance(judged, NoAnswer):
            return self._none(judged)
        dossier = Dossier(
            sample,
            self._event.time,  # not the clock's: the same when it is handled again
            costs=(summed(self._costs),),
            rewrite=replace(self._chat.rewrite, judged=judged),
        )
        return Emit((Send(SUBMITTED, dossier),))

    def _none_paid_for(self, call: Call) -> Result | None:
        """Half a rewrite is money lost: it is begun where its allowances pay for all of its calls at their worst.

        What is yet to be written is taken to have as many bytes as its model may write tokens.
        """
        task, refinement = self._task, self._refinement
        if not self._chat.is_limited:
            return None
        prompt = "?" * refinement.refining.max_tokens
        answering, _ = task.answering_call(prompt, refinement.answering)
        judging = self._judging_calls(task.sample(prompt, "?" * refinement.answering.max_tokens)) if self._is_judged else []
        needed, why = self._chat.shortfall([call, answering, *(judge for judge, _ in judging)])
        if not why:
            return None
        if task.rewrite.attempt > 1:
            return _not_made(task.rewrite, BUDGET, (), why)
        return Emit((Send(ROUND_PROGRESSED, not_begun(task.rewrite, needed, why)),))

    def _judging_calls(self, sample: Sample) -> list[tuple[Call, Callable[[str], float]]]:
        judging = self._refinement.judging
        return [judging.call_for(each) for each in judging.to_judge(self._task.rewrite, sample)]

    async def _judged(self, sample: Sample) -> EndpointJudgement | NoAnswer:
        qualities: list[float] = []
        for call, read in self._judging_calls(sample):
            answer = await self._asked(call, read)
            if isinstance(answer, NoAnswer):
                return replace(answer, detail=f"{call.role}: {answer.detail}")
            qualities.append(answer.value)
        return self._refinement.judging.judged(self._task.rewrite, qualities)

    async def _asked(self, call: Call, read: Callable[[str], Value]) -> Answer[Value] | NoAnswer:
        rewrite = self._task.rewrite
        drawn_anew = 0 if call.role == JUDGE else rewrite.attempt - 1  # a text is judged once, whichever attempt asks
        asked = replace(
            call,
            attempt=drawn_anew * REPLIES_MAX + 1,
            partition=self._event.first_position.partition,
            account=f"{rewrite.parent.dataset_id}/{rewrite.round_id}",
        )
        answer = await answer_of(self._chat, asked, read, attempts_max=REPLIES_MAX)
        self._costs = (*self._costs, *answer.costs)
        return answer

    def _none(self, why: NoAnswer) -> Result:
        reason = BUDGET if why.hindrance is Hindrance.OVER_BUDGET else why.hindrance
        return _not_made(self._chat.rewrite, reason, self._costs, why.detail)


def _not_made(rewrite: Rewrite, reason: str, costs: tuple[Cost, ...], detail: str) -> Emit:
    """A rewrite that was not made says nothing about its parent, which stays as it is."""
    return Emit((Send(ROUND_PROGRESSED, ended(rewrite, Ending.NOT_MADE, reason, (*rewrite.spent, *costs), detail)),))
