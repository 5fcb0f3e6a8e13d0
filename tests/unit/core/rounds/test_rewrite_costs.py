"""What a rewrite may still spend is checked before each call."""

import asyncio
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.budgets import Spend
from headrace.core.chat import ANSWERER, REFINER, Call, Hindrance, NotMade
from headrace.core.dossiers import Cost
from headrace.core.rounds.rewrite_costs import AllowedChat, summed
from headrace.core.samples import Message
from tests.fakes.certain import certain
from tests.fakes.chat_model import FakeChatModel
from tests.fakes.rewrites import rewrite

CALL = Call(REFINER, (Message("user", "?"),))
ANSWERING = Call(ANSWERER, (Message("user", "?"),))

WORST = Spend(100, 0.01)


def allowed(chat, tokens=None, money=None, worst=WORST, roles=(), **changes):
    asked = rewrite(tokens_allowed=tokens, money_allowed=money, roles_allowed=roles, **changes)
    return AllowedChat(chat, lambda _: worst, asked)


async def test_without_a_limit_every_call_is_made():
    """And there is nothing left to tell."""
    chat = allowed(FakeChatModel(lambda _: "Yes."))
    assert (await chat.ask(CALL)).text == "Yes."
    assert (chat.rewrite.tokens_allowed, chat.rewrite.money_allowed) == (None, None)


@pytest.mark.parametrize(("tokens", "money"), [(99, None), (0, None), (None, 0.009), (None, 0.0), (10**6, 0.0)])
async def test_a_call_that_might_cost_too_much_is_not_made(tokens, money):
    """Nothing is paid, so all that was allowed is left."""
    model = FakeChatModel(lambda _: "Yes.")
    chat = allowed(model, tokens, money)
    refused = await chat.ask(CALL)
    assert isinstance(refused, NotMade)
    assert (refused.hindrance, refused.cost, model.paid) == (Hindrance.OVER_BUDGET, None, [])
    assert (chat.rewrite.tokens_allowed, chat.rewrite.money_allowed) == (tokens, money)


async def test_what_was_spent_is_taken_off():
    """At what it was, not at its worst; what a call cost and nobody knows counts as its worst."""
    known = allowed(FakeChatModel(lambda _: "Yes."), 115, 0.5)
    await known.ask(CALL)
    assert (known.rewrite.tokens_allowed, known.rewrite.money_allowed) == (100, 0.499)
    await known.ask(CALL)
    assert (await known.ask(CALL)).hindrance == Hindrance.OVER_BUDGET
    unknown = allowed(FakeChatModel(lambda _: NotMade(Hindrance.MALFORMED, "", Cost(REFINER, 1.0))), 115, 0.5)
    await unknown.ask(CALL)
    assert (unknown.rewrite.tokens_allowed, unknown.rewrite.money_allowed) == (15, 0.49)


@pytest.mark.parametrize(("tokens", "money", "tries"), [(100, None, 1), (399, None, 3), (10**6, 0.025, 2), (None, None, None)])
async def test_no_more_tries_are_lost_than_what_is_left_pays_for(tokens, money, tries):
    """A try that is sent and not answered may have to be paid: each counts at its worst, and all of them together fit."""
    asked = []

    def lost(call: Call) -> NotMade:
        asked.append(call.unanswered_max)
        times = call.unanswered_max or 1
        return NotMade(Hindrance.FAILED, "", Cost(REFINER, 1.0, 90 * times, 10 * times, 0.01 * times))

    chat = allowed(FakeChatModel(lost), tokens, money)
    await chat.ask(CALL)
    assert asked == [tries]
    if tokens is not None:
        assert chat.rewrite.tokens_allowed == tokens - 100 * tries
    if money is not None:
        assert chat.rewrite.money_allowed == pytest.approx(money - 0.01 * tries)


async def test_money_that_nobody_can_foretell_is_not_spent():
    """A limit on money needs prices."""
    refused = await allowed(FakeChatModel(lambda _: "Yes."), None, 5.0, Spend(100, None)).ask(CALL)
    assert "set its price" in refused.detail


async def test_a_role_that_has_spent_its_share_is_asked_no_more_and_others_are():
    """The reason names the role's setting; what is left and what was spent is told by role."""
    model = FakeChatModel(lambda _: "Yes.")
    chat = allowed(model, 1_000, None, roles=(Spend(110, None, ANSWERER), Spend(None, 0.0105, "judge")))
    await chat.ask(ANSWERING)
    refused = await chat.ask(ANSWERING)
    assert (refused.hindrance, refused.cost) == (Hindrance.OVER_BUDGET, None)
    assert "15 of 110 tokens (rounds.budget.roles.answerer.tokens) are spent" in refused.detail
    await chat.ask(CALL)
    assert [call.role for call in model.paid] == [ANSWERER, REFINER]
    left = chat.rewrite
    assert (left.tokens_allowed, left.roles_allowed) == (970, (Spend(95, None, ANSWERER), Spend(None, 0.0105, "judge")))
    assert left.roles_spent == (Spend(15, 0.001, ANSWERER), Spend(role="judge"), Spend(15, 0.001, REFINER))


async def test_what_all_calls_may_spend_holds_where_a_role_may_spend_more():
    """And the other way round; a refused call takes nothing off either."""
    for tokens, role in ((99, 10**6), (10**6, 99)):
        chat = allowed(FakeChatModel(lambda _: "Yes."), tokens, roles=(Spend(role, None, REFINER),))
        assert (await chat.ask(CALL)).hindrance == Hindrance.OVER_BUDGET
        assert (chat.rewrite.tokens_allowed, chat.rewrite.roles_allowed) == (tokens, (Spend(role, None, REFINER),))


@pytest.mark.parametrize(
    ("roles", "lacks"),
    [
        ((Spend(100, 0.01, ANSWERER),), ""),
        ((Spend(99, None, ANSWERER),), "rounds.budget.roles.answerer.tokens"),
        ((Spend(None, 0.009, ANSWERER),), "rounds.budget.roles.answerer.money"),
        ((Spend(100, 0.01, ANSWERER), Spend(0, 0.0, REFINER)), "rounds.budget.roles.refiner.tokens"),
        ((Spend(0, 0.0, "judge"),), ""),
    ],
)
def test_calls_are_held_against_the_shares_of_their_roles(roles, lacks):
    """What they need at their worst is told in all and in each limited role that is called."""
    needed, why = allowed(FakeChatModel(lambda _: ""), 200, roles=roles).shortfall([CALL, ANSWERING])
    called = [each.role for each in roles if each.role != "judge"]
    assert needed == (Spend(200, 0.02), *(Spend(100, 0.01, role) for role in called))
    assert lacks in why
    assert bool(lacks) == bool(why)


async def test_what_nobody_knows_of_a_role_stays_unknown():
    """A call whose cost is not told; and an attempt by an earlier release, which did not tell by role."""
    unknown = FakeChatModel(lambda _: NotMade(Hindrance.MALFORMED, "", Cost(REFINER, 1.0)))
    chat = allowed(
        unknown, roles=(Spend(150, None, REFINER),), spent=(Cost("refinement"),), roles_spent=(Spend(7, 0.5, REFINER),)
    )
    await chat.ask(CALL)
    assert chat.rewrite.roles_spent == (Spend(None, None, REFINER),)
    assert chat.rewrite.roles_allowed == (Spend(50, None, REFINER),)
    earlier = allowed(
        FakeChatModel(lambda _: "Yes."), roles=(Spend(150, None, ANSWERER),), spent=(Cost("refinement", 1.0, 9, 9),)
    )
    await earlier.ask(CALL)
    assert earlier.rewrite.roles_spent == (Spend(None, None, REFINER),)


@given(
    calls=st.lists(st.tuples(st.sampled_from([REFINER, ANSWERER]), st.integers(1, 60), st.floats(0, 1)), max_size=12),
    tokens=st.none() | st.integers(0, 300),
    roles=st.dictionaries(st.sampled_from([REFINER, ANSWERER]), st.integers(0, 200)),
    told=st.lists(st.booleans(), min_size=1, max_size=3),
)
def test_no_role_spends_above_its_share_and_all_together_neither(calls, tokens, roles, told):
    """Whatever calls cost up to their worst, told or not; what is left is never more than what was not spent."""
    spent = {REFINER: 0, ANSWERER: 0}
    numbers, tells = iter(calls), cycle(told)

    def costs(call: Call) -> NotMade:
        amount = int(worst * share)
        spent[call.role] += amount
        return NotMade(Hindrance.CUT_OFF, "", Cost(call.role, 1.0, amount, 0) if next(tells) else Cost(call.role, 1.0))

    limits = tuple(Spend(limit, None, role) for role, limit in roles.items())
    chat = AllowedChat(FakeChatModel(costs), lambda _: Spend(worst, None), rewrite(tokens_allowed=tokens, roles_allowed=limits))
    for attempt, (role, worst, share) in enumerate(numbers, 1):  # noqa: B007 - read by the model and its price
        asyncio.run(chat.ask(Call(role, CALL.messages, attempt=attempt)))
    left = chat.rewrite
    assert left.tokens_allowed is None or sum(spent.values()) + left.tokens_allowed <= tokens
    for each in left.roles_allowed:
        assert spent[each.role] + certain(each.tokens) <= roles[each.role]


def test_sums_know_what_they_do_not_know():
    """A part that is unknown in one is unknown in all; money of two currencies is no sum; of nothing it is zero."""
    euros = Cost("refiner", 1.0, 10, 5, 0.5, "EUR")
    assert summed([euros, euros]) == Cost("refinement", 2.0, 20, 10, 1.0, "EUR")
    assert summed([euros, Cost("answerer", 1.0, None, 5, 0.5, "USD")]) == Cost("refinement", 2.0, None, 10, None, "")
    assert summed([]) == Cost("refinement", 0, 0, 0, 0, "")
