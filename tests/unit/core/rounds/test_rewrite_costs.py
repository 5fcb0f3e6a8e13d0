"""What a rewrite may still spend is checked before each call."""

import pytest

from headrace.core.budgets import Spend
from headrace.core.chat import REFINER, Call, Hindrance, NotMade
from headrace.core.dossiers import Cost
from headrace.core.rounds.rewrite_costs import AllowedChat, summed
from headrace.core.samples import Message
from tests.fakes.chat_model import FakeChatModel
from tests.fakes.rewrites import rewrite

CALL = Call(REFINER, (Message("user", "?"),))


WORST = Spend(100, 0.01)


def allowed(chat, tokens=None, money=None, worst=WORST):
    return AllowedChat(chat, lambda _: worst, rewrite(tokens_allowed=tokens, money_allowed=money))


async def test_without_a_limit_every_call_is_made():
    """And there is nothing left to tell."""
    chat = allowed(FakeChatModel(lambda _: "Yes."))
    assert (await chat.ask(CALL)).text == "Yes."
    assert (chat.tokens_left, chat.money_left) == (None, None)


@pytest.mark.parametrize(("tokens", "money"), [(99, None), (0, None), (None, 0.009), (None, 0.0), (10**6, 0.0)])
async def test_a_call_that_might_cost_too_much_is_not_made(tokens, money):
    """Nothing is paid, so all that was allowed is left."""
    model = FakeChatModel(lambda _: "Yes.")
    chat = allowed(model, tokens, money)
    refused = await chat.ask(CALL)
    assert isinstance(refused, NotMade)
    assert (refused.hindrance, refused.cost, model.paid) == (Hindrance.OVER_BUDGET, None, [])
    assert (chat.tokens_left, chat.money_left) == (tokens, money)


async def test_what_was_spent_is_taken_off():
    """At what it was, not at its worst; what a call cost and nobody knows counts as its worst."""
    known = allowed(FakeChatModel(lambda _: "Yes."), 115, 0.5)
    await known.ask(CALL)
    assert (known.tokens_left, known.money_left) == (100, 0.499)
    await known.ask(CALL)
    assert (await known.ask(CALL)).hindrance == Hindrance.OVER_BUDGET
    unknown = allowed(FakeChatModel(lambda _: NotMade(Hindrance.MALFORMED, "", Cost(REFINER, 1.0))), 115, 0.5)
    await unknown.ask(CALL)
    assert (unknown.tokens_left, unknown.money_left) == (15, 0.49)


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
        assert chat.tokens_left == tokens - 100 * tries
    if money is not None:
        assert chat.money_left == pytest.approx(money - 0.01 * tries)


async def test_money_that_nobody_can_foretell_is_not_spent():
    """A limit on money needs prices."""
    refused = await allowed(FakeChatModel(lambda _: "Yes."), None, 5.0, Spend(100, None)).ask(CALL)
    assert "set its price" in refused.detail


def test_sums_know_what_they_do_not_know():
    """A part that is unknown in one is unknown in all; money of two currencies is no sum; of nothing it is zero."""
    euros = Cost("refiner", 1.0, 10, 5, 0.5, "EUR")
    assert summed([euros, euros]) == Cost("refinement", 2.0, 20, 10, 1.0, "EUR")
    assert summed([euros, Cost("answerer", 1.0, None, 5, 0.5, "USD")]) == Cost("refinement", 2.0, None, 10, None, "")
    assert summed([]) == Cost("refinement", 0, 0, 0, 0, "")
