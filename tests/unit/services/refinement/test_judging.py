"""Refinement asks for a second opinion where the round does: two calls more, their numbers and their cost, or no rewrite."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headrace.core.budgets import Spend
from headrace.core.chat import ANSWERER, JUDGE, REFINER, Call, Hindrance, NotMade
from headrace.core.dossiers import Cost, EndpointJudgement
from headrace.core.policies import Policy
from headrace.core.rounds.facts import Ending
from headrace.core.topics import SUBMITTED
from services.refinement.handlers import REPLIES_MAX, refine
from tests.fakes.chat_model import FakeChatModel
from tests.fakes.rewrites import NEW_QUESTION, RESPONSE, parent, requested, rewrite, scores, writes
from tests.unit.services.refinement.test_handlers import fact_of, refinement

ASKS = Policy.model_validate({"rounds": {"judge_rewrites": "endpoint"}})
GATE = ASKS.rounds.gate()
PARENT_JUDGED = EndpointJudgement(5.5, None, "judge-1", "judge.v1")


async def one(says, asked=None, **changes):
    model = FakeChatModel(says)
    parts = replace(refinement(model), **changes)
    [result] = await refine([requested(asked or rewrite(gate=GATE))], parts)
    return result, model


def roles_of(model: FakeChatModel) -> list[str]:
    return [call.role for call in model.paid]


@pytest.mark.parametrize("axis", ["hard", "low_quality", "sparse"])
async def test_parent_and_rewrite_are_judged_once_both_are_written(axis):
    """In the very same words; numbers and cost go with the rewrite."""
    asked = rewrite(axis, gate=GATE, tokens_allowed=1_000, money_allowed=1.0)
    result, model = await one(writes(), asked)
    [send] = result.sends
    assert send.topic is SUBMITTED
    assert send.body.rewrite.judged == EndpointJudgement(5.5, 7.0, "judge-1", "judge.v1")
    assert roles_of(model) == [REFINER, ANSWERER, JUDGE, JUDGE]
    of_parent, of_rewrite = model.paid[2:]
    assert of_parent.messages[0] == of_rewrite.messages[0]
    assert RESPONSE in of_parent.messages[1].content
    assert NEW_QUESTION in of_rewrite.messages[1].content
    assert {call.sampling.temperature for call in (of_parent, of_rewrite)} == {0.0}
    assert send.body.costs == (Cost("refinement", 2.0, 40, 20, 0.004, "EUR"),)
    assert (send.body.rewrite.tokens_allowed, send.body.rewrite.money_allowed) == (940, pytest.approx(0.996))


async def test_nobody_judges_where_the_round_does_not_ask():
    """Though the policy does by now; a round of an earlier release goes by the policy."""
    live = {"policy_of": lambda _: ASKS}
    result, model = await one(writes(), rewrite(gate=Policy().rounds.gate()), **live)
    assert (roles_of(model), result.sends[0].body.rewrite.judged) == ([REFINER, ANSWERER], None)
    _, model = await one(writes(), rewrite(), **live)
    assert roles_of(model) == [REFINER, ANSWERER, JUDGE, JUDGE]


async def test_the_parent_is_judged_once_over_all_attempts():
    """Its number goes on with the rewrite; its cost is booked by the attempt that paid it."""
    says = writes(prompt="How many miles does the train go in one hour, if it goes 60 in 1.5 hours?", quality=8.0)
    result, model = await one(says, rewrite(gate=GATE, attempt=2, judged=PARENT_JUDGED))
    assert roles_of(model) == [REFINER, ANSWERER, JUDGE]
    assert RESPONSE not in model.paid[2].messages[1].content
    assert result.sends[0].body.rewrite.judged == EndpointJudgement(5.5, 8.0, "judge-1", "judge.v1")
    assert result.sends[0].body.costs == (Cost("refinement", 1.5, 30, 15, 0.003, "EUR"),)


async def test_a_parent_whose_number_got_lost_is_the_same_call():
    """So its kept reply is used, whichever attempt or axis asks."""
    model = FakeChatModel(writes())
    for asked in (rewrite(gate=GATE), rewrite(gate=GATE, attempt=2), rewrite("low_quality", gate=GATE, adds=True)):
        await refine([requested(asked)], refinement(model))
    of_parent = [call for call in model.paid if call.role == JUDGE and RESPONSE in call.messages[1].content]
    assert len(of_parent) == 1


async def test_a_batch_handled_again_pays_nothing_and_comes_to_the_same():
    """Judgements are kept as every other reply."""
    model = FakeChatModel(writes())
    batch = [requested(rewrite(gate=GATE, parent=parent(id=f"p{n}")), n) for n in range(3)]
    first = await refine(batch, refinement(model))
    paid = len(model.paid)
    assert await refine(batch, refinement(model)) == first
    assert len(model.paid) == paid


async def test_a_judge_that_cannot_be_read_is_asked_again_and_then_the_rewrite_is_not_made():
    """With the error shown; both sides alike. No number is made up for it, and its cost is told."""
    for bad in ("10/10, accept me!", scores(11), ""):
        said = writes()
        result, model = await one(lambda call, said=said, bad=bad: bad if call.role == JUDGE else said(call))
        fact = fact_of(result)
        assert (fact.ending, fact.reason, fact.tokens) == (Ending.NOT_MADE, "invalid", 15 * (2 + REPLIES_MAX))
        assert fact.detail.startswith("judge: ")
        assert roles_of(model) == [REFINER, ANSWERER, *[JUDGE] * REPLIES_MAX]
        assert "cannot be read" in model.paid[-1].messages[-1].content


async def test_a_judge_that_mends_its_reply_is_taken():
    """Each unreadable one is paid for, too."""
    replies = iter(["Fine!", scores(4), "Better!", f"```json\n{scores(6)}\n```"])
    said = writes()
    result, _ = await one(lambda call: next(replies) if call.role == JUDGE else said(call))
    assert result.sends[0].body.rewrite.judged == EndpointJudgement(4.0, 6.0, "judge-1", "judge.v1")
    assert result.sends[0].body.costs == (Cost("refinement", 3.0, 60, 30, 0.006, "EUR"),)


@pytest.mark.parametrize("refused", [1, 2])
async def test_a_judgement_that_was_not_made_makes_no_rewrite(refused):
    """Of parent or rewrite: the call's reason is the rewrite's."""
    said, asked = writes(), []

    def says(call: Call):
        asked.append(call.role)
        return NotMade(Hindrance.FILTERED, "no", Cost(JUDGE, 1.0, 5, 0)) if asked.count(JUDGE) == refused else said(call)

    fact = fact_of((await one(says))[0])
    assert (fact.ending, fact.reason, fact.detail) == (Ending.NOT_MADE, "filtered", "judge: no")


@pytest.mark.parametrize(("judged", "calls"), [(None, 4), (PARENT_JUDGED, 3), (replace(PARENT_JUDGED, model="judge-0"), 4)])
async def test_an_attempt_is_begun_where_its_judgements_are_paid_for_too(judged, calls):
    """The parent's only where it will be asked for."""
    asked = rewrite(gate=GATE, judged=judged)
    result, model = await one(writes(), replace(asked, tokens_allowed=100 * calls - 1))
    fact = fact_of(result)
    assert (fact.reason, fact.attempts, fact.tokens_needed, model.paid) == ("budget", 0, 100 * calls, [])
    result, _ = await one(writes(), replace(asked, tokens_allowed=100 * calls))
    assert result.sends[0].topic is SUBMITTED


async def test_a_judgement_is_held_against_what_is_left_once_more():
    """What is written may be longer than thought: no call is made that the allowance does not pay for."""
    written = rewrite(gate=GATE, tokens_allowed=400)

    def worst_of(call: Call) -> Spend:
        return Spend(390 if call.role == JUDGE and NEW_QUESTION in call.messages[1].content else 100, 0.0)

    result, model = await one(writes(), written, worst_of=worst_of)
    fact = fact_of(result)
    assert (fact.reason, fact.tokens, roles_of(model)) == ("budget", 45, [REFINER, ANSWERER, JUDGE])


@pytest.mark.parametrize(("gate", "roles"), [(GATE, [JUDGE]), (Policy().rounds.gate(), [])])
async def test_the_judges_endpoint_is_checked_where_a_round_asks_for_it(gate, roles):
    """Elsewhere nobody minds whether there is one."""
    checked: list[list[str]] = []

    async def check(more: Sequence[str]) -> None:
        checked.append(list(more))

    await one(writes(), rewrite(gate=gate), checked=check)
    assert checked == [roles]
