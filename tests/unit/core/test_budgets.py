"""Budgets: reserved at the worst, settled at what it was, and never exceeded by what is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.budgets import Budget, OverBudget, Spend, lacking


@pytest.mark.parametrize("budget", [Budget(tokens=0), Budget(money=0.0)])
def test_a_budget_of_zero_refuses_the_first_call(budget):
    """Even one that would cost nothing of it."""
    with pytest.raises(OverBudget, match=r"the budget of \w+ is 0"):
        budget.reserve(Spend(0, 0.0))


def test_no_limit_limits_nothing():
    """Whatever a call may cost, and where nobody knows."""
    budget = Budget()
    budget.reserve(Spend(10**12, None))
    budget.settle(Spend(10**12, None), Spend(5, None))
    assert (budget.tokens_left, budget.money_left) == (None, None)


def test_a_call_whose_price_is_unknown_cannot_be_limited_by_money():
    """Unknown is not zero: it says which setting is missing."""
    with pytest.raises(OverBudget, match="set its price"):
        Budget(money=5.0).reserve(Spend(10, None))


def test_an_error_names_the_setting_that_limits():
    """The amount's own, below the section that both are from."""
    budget = Budget(tokens=100, money=0.0, setting="rounds.budget.roles.judge")
    with pytest.raises(OverBudget, match=r"0 of 100 tokens \(rounds\.budget\.roles\.judge\.tokens\) are spent"):
        budget.require(Spend(101, 0.0))
    with pytest.raises(OverBudget, match=r"money \(rounds\.budget\.roles\.judge\.money\) is 0"):
        budget.require(Spend(1, 0.0))


def test_an_allowance_is_held_against_what_is_needed_in_its_role():
    """Where nothing is needed in a role it lacks nothing; what is unknown is within no limit, and nothing within a limit of 0."""
    allowed = (Spend(100, None), Spend(None, 1.0, "answerer"), Spend(0, 0.0, "judge"))
    assert lacking(allowed, (Spend(100, None), Spend(100, 1.0, "answerer"), Spend(9, None, "refiner"))) == []
    assert [limit.role for limit, _ in lacking(allowed, (Spend(101), Spend(1, None, "answerer"), Spend(0, 0.0, "judge")))] == [
        "", "answerer", "judge",
    ]  # fmt: skip


def test_what_one_amount_forbids_is_not_set_aside_in_the_other():
    """A call that was refused leaves all the room there was."""
    budget = Budget(tokens=100, money=1.0)
    with pytest.raises(OverBudget, match="money"):
        budget.reserve(Spend(80, 2.0))
    budget.reserve(Spend(80, 0.5))


def test_a_call_that_does_not_fit_now_may_fit_once_others_settle():
    """The worst of what is on its way stands in its way, not what was spent."""
    budget = Budget(tokens=100)
    budget.reserve(Spend(80))
    with pytest.raises(OverBudget, match="80 reserved; this call may take 30"):
        budget.reserve(Spend(30))
    budget.settle(Spend(80), Spend(10))
    budget.reserve(Spend(30))
    budget.settle(Spend(30), Spend(30))
    assert budget.tokens_left == 60
    with pytest.raises(OverBudget, match="40 of 100 tokens are spent"):
        budget.reserve(Spend(61))


def test_what_a_call_cost_is_booked_at_its_worst_where_it_is_unknown():
    """An endpoint that does not count tokens is not free."""
    budget = Budget(tokens=100, money=2.0)
    budget.reserve(Spend(80, 0.5))
    budget.settle(Spend(80, 0.5), Spend(None, None))
    assert (budget.tokens_left, budget.money_left) == (20, 1.5)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans())), st.integers(0, 200))
def test_no_run_of_calls_spends_more_than_the_limit(calls, limit):
    """Whatever is reserved and settled in whatever order, if no call costs more than its worst."""
    budget, open_, spent = Budget(tokens=limit), [], 0
    for worst, actual, settle_now in calls:
        try:
            budget.reserve(Spend(worst))
        except OverBudget:
            continue
        open_.append((Spend(worst), Spend(min(worst, actual))))
        spent += min(worst, actual)
        if settle_now:
            budget.settle(*open_.pop(0))
    for worst, actual in open_:
        budget.settle(worst, actual)
    assert spent <= limit
    assert budget.tokens_left == limit - spent
