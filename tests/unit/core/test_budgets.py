"""Budgets: reserved at the worst, settled at what it was, and never exceeded by what is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.budgets import BudgetLedger, Limits, OverBudget, Spend


@pytest.mark.parametrize("limits", [Limits(tokens=0), Limits(money=0.0), Limits(seconds=0.0)])
def test_a_budget_of_zero_refuses_the_first_call(limits):
    """Even one that would cost nothing of it."""
    with pytest.raises(OverBudget, match=r"r-1: its budget of \w+ is 0"):
        BudgetLedger().reserve("r-1", Spend(0, 0.0, 0.0), limits)


def test_no_limit_limits_nothing():
    """An account without limits still counts."""
    ledger = BudgetLedger()
    ledger.settle(ledger.reserve("", Spend(10**12, None, 1e9), Limits()), Spend(5, None, 2.0))
    assert ledger.spent("") == Spend(5, 0.0, 2.0)


def test_a_call_whose_price_is_unknown_cannot_be_limited_by_money():
    """Unknown is not zero: it says which setting is missing."""
    with pytest.raises(OverBudget, match="set its price"):
        BudgetLedger().reserve("r-1", Spend(10, None, 1.0), Limits(money=5.0))


def test_a_call_that_does_not_fit_now_may_fit_once_others_settle():
    """The worst of what is on its way stands in its way, not what was spent."""
    ledger, limits = BudgetLedger(), Limits(tokens=100)
    first = ledger.reserve("r-1", Spend(80), limits)
    with pytest.raises(OverBudget, match="80 reserved; this call may take 30"):
        ledger.reserve("r-1", Spend(30), limits)
    ledger.settle(first, Spend(10))
    second = ledger.reserve("r-1", Spend(30), limits)
    ledger.settle(second, Spend(30))
    with pytest.raises(OverBudget, match="40 of 100 tokens are spent"):
        ledger.reserve("r-1", Spend(61), limits)


def test_what_a_call_cost_is_booked_at_its_worst_where_it_is_unknown():
    """An endpoint that does not count tokens is not free."""
    ledger = BudgetLedger()
    ledger.settle(ledger.reserve("r-1", Spend(80, 0.5, 9.0), Limits()), Spend(None, None, 2.0))
    assert ledger.spent("r-1") == Spend(80, 0.5, 2.0)


def test_accounts_are_apart():
    """One does not eat another's budget."""
    ledger = BudgetLedger()
    ledger.settle(ledger.reserve("r-1", Spend(90), Limits()), Spend(90, None, 1.0))
    with pytest.raises(OverBudget):
        ledger.reserve("r-1", Spend(20), Limits(tokens=100))
    ledger.reserve("r-2", Spend(20), Limits(tokens=100))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans())), st.integers(0, 200))
def test_no_run_of_calls_spends_more_than_the_limit(calls, limit):
    """Whatever is reserved and settled in whatever order, if no call costs more than its worst."""
    ledger, limits, open_ = BudgetLedger(), Limits(tokens=limit), []
    for worst, actual, settle_now in calls:
        try:
            open_.append((ledger.reserve("r", Spend(worst), limits), Spend(min(worst, actual))))
        except OverBudget:
            continue
        if settle_now:
            ledger.settle(*open_.pop(0))
    for reservation, spend in open_:
        ledger.settle(reservation, spend)
    spent = ledger.spent("r").tokens
    assert spent is not None
    assert spent <= limit
