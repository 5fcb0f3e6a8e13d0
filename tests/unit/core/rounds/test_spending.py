"""A round's budget: never overspent, and spent on whatever it still pays for."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.rounds.counting import OTHER_REASONS, REASONS_MAX, tallied
from headrace.core.rounds.counts import PutOff, RewriteCounts
from headrace.core.rounds.facts import Ending, Fact, RewriteEnded, RewritesRequested, RowLost
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.policy import Budget, RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.spending import Left, affordable, left_of, not_asked_for, refining_s
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.rounds.surveys import RefiningRequested
from tests.fakes.round_parts import NOW, Parts, Rounds, started

RULES = {"guards": {"model_written_share_max": 1.0}, "train": False}


@dataclass
class Refiners(Parts):
    """Refinement as it is: a rewrite is begun where its allowance pays for what it needs, and else says what it needs.

    One that is begun costs what `costs` says of what it is allowed, a share; None: it spends all of it, and nobody knows; a
    negative one: it ends among the dead letters, all of it spent.
    """

    needs: list[int] = field(default_factory=list)
    costs: list[float | None] = field(default_factory=list)
    spent: int = 0
    begun: list[int] = field(default_factory=list)
    order: random.Random = field(default_factory=lambda: random.Random(0))

    def _refined(self, step: RefiningRequested) -> list[Fact]:
        rows = step.only_rows or tuple(range(step.first_row, min(len(self.needs), step.first_row + step.rows)))
        assert all(step.first_row <= row < step.first_row + step.rows for row in rows)
        complete = step.first_row + step.rows >= len(self.needs)
        ends = [self._end(row, step.tokens_allowed_each or 0) for row in rows]
        ends += [end for end in ends if isinstance(end, RowLost)]  # its dead letter is read once more
        self.order.shuffle(ends)
        return [RewritesRequested(len(rows), complete), *ends]

    def _end(self, row: int, allowed: int) -> Fact:
        name = f"problem-{row}"
        if self.needs[row] > allowed:
            return RewriteEnded(
                Axis.HARD, name, Ending.NOT_MADE, "budget", 0, 0, 0.0, tokens_needed=self.needs[row], row=row, money_needed=None
            )
        self.begun.append(row)
        cost = self.costs[row % len(self.costs)]
        tokens = allowed if cost is None or cost < 0 else round(allowed * cost)
        self.spent += tokens
        if cost is not None and cost < 0:
            return RowLost(None, name, 0, "scoring", "gone", Axis.HARD)
        ending = self.endings[row % len(self.endings)]
        return RewriteEnded(Axis.HARD, name, ending, "", 1, None if cost is None else tokens, None)


def refined(tokens: int, parts: Refiners, page_rows: int = 64) -> RoundState:
    """A round with a budget of so many tokens, whose whole selection is one hard row for each need."""
    parts.selected = (len(parts.needs), 0, 0)
    rules = RoundPolicy.model_validate({"budget": {"tokens": tokens}, **RULES})
    return Rounds(Limits(page_rows=page_rows)).run(started(rules, parts.rows), parts)


@given(
    tokens=st.integers(0, 40_000),
    page_rows=st.integers(1, 9),
    needs=st.lists(st.integers(1, 9_000), min_size=1, max_size=40),
    costs=st.lists(st.none() | st.floats(-0.1, 1.0), min_size=1, max_size=7),
    ending=st.sampled_from([Ending.ACCEPTED, Ending.REJECTED]),
    seed=st.integers(0, 2**32),
)
def test_a_budget_is_never_overspent_and_spent_on_all_that_it_pays_for(tokens, page_rows, needs, costs, ending, seed):
    """No rewrite is begun twice; of those never begun none fits into what is left, as far as a whole page ahead.

    In whatever order rewrites end, and however often their dead letters are read.
    """
    parts = Refiners(rows=200, page_rows=200, needs=needs, costs=costs, endings=(ending,), order=random.Random(seed))
    state = refined(tokens, parts, page_rows)
    counts = state.rewrites
    assert parts.spent <= counts.tokens_charged <= tokens
    assert len(parts.begun) == len(set(parts.begun))
    assert counts.under_way == 0
    left = tokens - counts.tokens_charged
    asked = range(counts.rows_asked)
    not_begun = [row for row in asked if row not in parts.begun]
    assert all(needs[row] > left for row in not_begun)
    assert counts.not_begun == len(not_begun)
    assert not_asked_for(state) == len(needs) - len(parts.begun)
    if counts.rows_asked < len(needs):
        assert left < 1 or all(needs[row] > left for row in asked[-page_rows:])
    if not counts.accepted:
        told = RoundReason.BUDGET_SPENT if len(parts.begun) < len(needs) else RoundReason.NOTHING_ACCEPTED
        assert (state.phase, state.reason) == (Phase.STOPPED, told)


@pytest.mark.parametrize("selected", [10, 64, 500])
def test_a_budget_that_pays_for_some_of_many_mends_those(selected):
    """Whatever the number of rows selected: each needs 2,668 tokens at its worst and takes 1,500."""

    class Same(Refiners):
        def _end(self, row: int, allowed: int) -> Fact:
            self.costs = [1_500 / max(1, allowed)]
            return super()._end(row, allowed)

    parts = Same(rows=2_000, page_rows=2_000, needs=[2_668] * selected)
    state = refined(100_000, parts)
    made = min(selected, 1 + (100_000 - 2_668) // 1_500)
    assert (state.phase, sum(state.rewrites.accepted.values()), parts.spent) == (Phase.KEPT, made, made * 1_500)
    assert not_asked_for(state) == selected - made


def test_a_budget_that_pays_for_nothing_says_what_was_needed():
    """One row beyond it, or many: not a single page more is asked for, and the round says that it was the budget."""
    for selected in (1, 500):
        parts = Refiners(rows=2_000, page_rows=2_000, needs=[3_000] * selected, costs=[0.5])
        state = refined(2_999, parts)
        assert (state.reason, parts.begun, state.rewrites.rows_asked) == (RoundReason.BUDGET_SPENT, [], min(64, selected))
        [why] = state.rewrites.reasons
        assert (why.reason, why.count) == ("budget", min(64, selected))
        assert why.example == "needs 3000 tokens at its worst to be begun; 2999 of rounds.budget.tokens were left"
        assert f"{selected} were not begun" in state.detail


def test_limited_money_without_prices_begins_nothing_and_says_so():
    """One page finds out; nobody is asked for the rest."""

    class Unpriced(Refiners):
        def _end(self, row: int, _: int) -> Fact:
            return RewriteEnded(Axis.HARD, f"problem-{row}", Ending.NOT_MADE, "budget", 0, 0, 0.0, tokens_needed=10, row=row)

    parts = Unpriced(rows=2_000, page_rows=2_000, needs=[10] * 200, selected=(200, 0, 0))
    rules = RoundPolicy.model_validate({"budget": {"money": 5.0}, **RULES})
    state = Rounds().run(started(rules, 2_000), parts)
    assert (state.reason, state.rewrites.rows_asked) == (RoundReason.BUDGET_SPENT, 64)
    assert "set the endpoint's prices" in state.rewrites.reasons[0].example


def test_a_deadline_is_not_told_as_a_budget():
    """The time was over before the money."""
    rules = RoundPolicy.model_validate({"budget": {"tokens": 10**6}, **RULES})
    rounds = Rounds(Limits(page_rows=4))

    class Silent(Parts):
        def _refined(self, step: RefiningRequested) -> list[Fact]:
            return [RewritesRequested(step.rows, complete=False)]

    rounds.run(started(rules, 200), Silent(rows=200, page_rows=200, selected=(20, 0, 0)))
    rounds.deadline()
    state = rounds.states["r1"]
    assert (state.reason, state.detail) == (
        RoundReason.NOTHING_ACCEPTED, "0 rewrites ended, 4 were left out, 16 were not begun"
    )  # fmt: skip


def test_a_rewrite_that_needs_more_than_there_is_keeps_no_other_from_being_made():
    """It is passed over, and its neighbours are begun."""
    parts = Refiners(rows=200, page_rows=200, needs=[90_000, *[1_000] * 20], costs=[0.1])
    state = refined(20_000, parts)
    assert sorted(parts.begun) == list(range(1, 21))
    assert (state.phase, state.rewrites.not_begun) == (Phase.KEPT, 1)


def test_those_put_off_are_begun_in_the_order_of_the_selection():
    """As many at a time as each share suffices for, and at least one where one can be begun alone."""
    put_off = [PutOff(row, Axis.HARD, need) for row, need in enumerate([400, 100, 1_200, 500])]
    assert [each.row for each in affordable(put_off, Left(1_000, None))] == [0, 1]
    assert [each.row for each in affordable(put_off, Left(2_000, None))] == [0, 1]
    assert affordable(put_off, Left(99, None)) == ()
    assert affordable(put_off, Left(1_000, 1.0)) == ()  # money is limited, and nobody knows a price
    assert affordable(put_off, Left(1_000, None, in_time=False)) == ()


def test_no_rewrite_is_begun_once_the_seconds_are_over():
    """By the clock, times when the round was frozen left out; what is out goes on."""
    rules = RoundPolicy.model_validate({"budget": {"seconds": 60.0}, **RULES})
    rounds = Rounds(Limits(page_rows=4))

    class Slow(Parts):
        def _refined(self, step: RefiningRequested) -> list[Fact]:
            rounds.now += 40.0
            return super()._refined(step)

    state = rounds.run(started(rules, 200), Slow(rows=200, page_rows=200, selected=(20, 0, 0)))
    assert (state.phase, state.rewrites.rows_asked, not_asked_for(state)) == (Phase.KEPT, 8, 12)
    assert refining_s(state, rounds.now) == 80.0
    assert left_of(Budget(seconds=81.0), state, rounds.now).in_time
    assert state.phase_since - NOW == 80.0


def test_reasons_are_told_apart_up_to_a_number():
    """A state must not grow with what endpoints and policies come up with; the first example of a reason stays."""
    counts = RewriteCounts()
    for number in range(2 * REASONS_MAX):
        for _ in range(2):
            counts = tallied(counts, Axis.HARD, Ending.NOT_MADE, f"reason_{number}", f"example {number}")
    assert len(counts.reasons) == REASONS_MAX + 1
    assert sum(each.count for each in counts.reasons) == counts.not_made[Axis.HARD] == 4 * REASONS_MAX
    assert {each.example for each in counts.reasons if each.reason == "reason_7"} == {"example 7"}
    assert next(each.count for each in counts.reasons if each.reason == OTHER_REASONS) == 2 * REASONS_MAX
