"""Budgets of single roles: never overspent by any of them, nor all together, and spent on what each of them pays for."""

import asyncio
import random
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.budgets import Spend, lacking, of_role
from headrace.core.chat import ANSWERER, REFINER, Call, Hindrance, NotMade
from headrace.core.dossiers import Cost, Rewrite
from headrace.core.rounds.attempts import ended, not_begun
from headrace.core.rounds.facts import Ending, Fact, RewriteEnded, RewritesRequested, RowLost
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.rewrite_costs import AllowedChat
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.spending import is_limited, left_of, not_asked_for
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.rounds.surveys import RefiningRequested
from headrace.core.samples import Message
from tests.fakes.certain import certain
from tests.fakes.chat_model import FakeChatModel
from tests.fakes.rewrites import parent, rewrite
from tests.fakes.round_parts import NOW, Parts, Rounds, started

RULES = {"guards": {"model_written_share_max": 1.0}, "train": False}
PRICES = {REFINER: 0.25, ANSWERER: 2.0}
ROLES = (REFINER, ANSWERER)


@dataclass
class Refinement(Parts):
    """Refinement as it is, two attempts at each rewrite: `worst` is what its two calls may take, by row.

    A call takes the next share in `costs` of that, and tells it; a negative one takes so much and does not tell. Of rewrites that
    were begun every `lost_every`-th ends among the dead letters. `spent` is what calls took, told or not.
    """

    worst: list[tuple[int, int]] = field(default_factory=list)
    costs: list[float] = field(default_factory=lambda: [1.0])
    lost_every: int = 0
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    begun: list[int] = field(default_factory=list)
    pages: list[RefiningRequested] = field(default_factory=list)
    calls: int = 0
    order: random.Random = field(default_factory=lambda: random.Random(0))

    def needed(self, row: int) -> tuple[Spend, ...]:
        roles = [Spend(worst, worst * PRICES[role], role) for role, worst in zip(ROLES, self.worst[row], strict=True)]
        return (reduce(Spend.plus, roles, Spend()), *roles)

    def _refined(self, step: RefiningRequested) -> list[Fact]:
        self.pages.append(step)
        rows = step.only_rows or tuple(range(step.first_row, min(len(self.worst), step.first_row + step.rows)))
        asked = [
            rewrite(
                parent=parent(id=f"problem-{row}"), row=row, tokens_allowed=step.tokens_allowed_each,
                money_allowed=step.money_allowed_each, roles_allowed=step.roles_allowed_each,
            )
            for row in rows
        ]  # fmt: skip
        ends = [asyncio.run(self._way_of(each)) for each in asked]
        self.order.shuffle(ends)
        return [RewritesRequested(len(rows), step.first_row + step.rows >= len(self.worst)), *ends]

    async def _way_of(self, asked: Rewrite) -> Fact:
        worst = dict(zip(ROLES, self.worst[asked.row], strict=True))
        calls = [Call(role, (Message("user", "?"),)) for role in ROLES]
        for attempt in (1, 2):
            chat = AllowedChat(
                FakeChatModel(lambda call: self._takes(call, worst[call.role])),
                lambda call: Spend(worst[call.role], worst[call.role] * PRICES[call.role]),
                replace(asked, attempt=attempt),
            )
            needed, why = chat.shortfall(calls)
            if why and attempt == 1:
                return not_begun(asked, needed, why).fact
            if why:
                break
            outcomes = [await chat.ask(call) for call in calls]
            asked = replace(chat.rewrite, spent=(*asked.spent, *(certain(each.cost) for each in outcomes)))
        self.begun.append(asked.row)
        if self.lost_every and len(self.begun) % self.lost_every == 0:
            return RowLost(None, asked.parent.id, 0, "scoring", "gone", Axis.HARD)
        return ended(asked, self.endings[0], "", asked.spent).fact

    def _takes(self, call: Call, worst: int) -> NotMade:
        share = self.costs[self.calls % len(self.costs)]
        self.calls += 1
        tokens = int(worst * abs(share))
        self.spent[call.role] += tokens
        told = Cost(call.role, 1.0, tokens, 0, tokens * PRICES[call.role], "EUR")
        return NotMade(Hindrance.CUT_OFF, "", told if share >= 0 else Cost(call.role, 1.0))


def refined(budget: dict[str, Any], parts: Refinement, page_rows: int = 64) -> RoundState:
    """A round with such a budget, whose whole selection is one hard row for each worst case."""
    parts.selected = (len(parts.worst), 0, 0)
    rules = RoundPolicy.model_validate({"budget": budget, **RULES})
    return Rounds(Limits(page_rows=page_rows)).run(started(rules, parts.rows), parts)


AMOUNTS = st.fixed_dictionaries({"tokens": st.none() | st.integers(0, 4_000), "money": st.none() | st.floats(0, 4_000)})


@given(
    total=AMOUNTS,
    roles=st.dictionaries(st.sampled_from(ROLES), AMOUNTS, min_size=1),
    page_rows=st.integers(1, 6),
    worst=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=20),
    costs=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=7),
    lost_every=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_no_role_overspends_its_budget_nor_all_together_theirs(total, roles, page_rows, worst, costs, lost_every, seed):
    """Whatever calls cost, told or not, lost or not, in whatever order rewrites end; and none is begun twice.

    Of rewrites that were asked for and never begun each needs more than is left, in all or in a role.
    """
    parts = Refinement(
        rows=200, page_rows=200, worst=worst, costs=costs, lost_every=lost_every, order=random.Random(seed),
        endings=(Ending.REJECTED,),
    )  # fmt: skip
    state = refined({**total, "roles": roles}, parts, page_rows)
    rules, counts = RoundPolicy.model_validate({"budget": {**total, "roles": roles}}), state.rewrites
    for limit in rules.budget.limits():
        of = [limit.role] if limit.role else ROLES
        charged = of_role(counts.charged, limit.role) or Spend()
        if limit.tokens is not None:
            assert sum(parts.spent[role] for role in of) <= certain(charged.tokens) <= limit.tokens
        if limit.money is not None:
            spent = sum(parts.spent[role] * PRICES[role] for role in of)
            assert spent <= certain(charged.money) * (1 + 1e-9) <= limit.money * (1 + 2e-9)
    assert len(parts.begun) == len(set(parts.begun))
    assert counts.under_way == 0
    left = left_of(rules.budget, state, NOW)
    never = [row for row in range(counts.rows_asked) if row not in parts.begun]
    assert all(lacking(left.amounts, parts.needed(row)) for row in never)
    assert counts.not_begun == len(never)
    assert not_asked_for(state) == len(worst) - len(parts.begun)


def test_a_role_s_budget_is_shared_over_the_rewrites_that_are_out_at_a_time():
    """As the round's is; what a page did not use is there for the next one."""
    parts = Refinement(rows=200, page_rows=200, worst=[(10, 100)] * 4, costs=[0.25])
    state = refined({"roles": {"answerer": {"tokens": 400, "money": 4_000.0}}}, parts, page_rows=2)
    assert [(page.tokens_allowed_each, page.roles_allowed_each) for page in parts.pages] == [
        (None, (Spend(200, 2_000.0, ANSWERER),)), (None, (Spend(150, 1_900.0, ANSWERER),)),
    ]  # fmt: skip
    assert (state.phase, state.rewrites.roles_charged) == (Phase.KEPT, (Spend(200, 400.0, ANSWERER),))
    assert state.rewrites.roles_spent == (Spend(200, 400.0, ANSWERER), Spend(16, 4.0, REFINER))


@pytest.mark.parametrize(
    ("budget", "needs", "were_left"),
    [
        ({"answerer": {"money": 99.5}}, "100 in money for calls in role answerer", "99.5 of rounds.budget.roles.answerer.money"),
        (
            {"answerer": {"money": 500.0}, "refiner": {"tokens": 39}},
            "40 tokens for calls in role refiner",
            "39 of rounds.budget.roles.refiner.tokens",
        ),
    ],
)
def test_a_role_s_budget_that_pays_for_nothing_says_so_and_names_its_setting(budget, needs, were_left):
    """One page finds out; nobody is asked for the rest, and nothing is paid."""
    parts = Refinement(rows=500, page_rows=500, worst=[(40, 50)] * 200)
    state = refined({"roles": budget}, parts)
    assert (state.reason, state.rewrites.rows_asked, parts.spent) == (RoundReason.BUDGET_SPENT, 64, dict.fromkeys(ROLES, 0))
    assert state.rewrites.reasons[0].example == f"needs {needs} at its worst to be begun; {were_left} were left"


def test_a_limited_role_without_prices_begins_nothing_and_says_so():
    """Money of another role is not asked about."""

    class Unpriced(Parts):
        def _refined(self, step: RefiningRequested) -> list[Fact]:
            rows = range(step.first_row, step.first_row + step.rows)
            asked = [rewrite(parent=parent(id=f"problem-{row}"), row=row) for row in rows]
            needed = (Spend(10, None), Spend(5, None, ANSWERER))
            return [RewritesRequested(step.rows, complete=False), *(not_begun(each, needed, "").fact for each in asked)]

    rules = RoundPolicy.model_validate({"budget": {"roles": {"answerer": {"money": 5.0}}}, **RULES})
    state = Rounds().run(started(rules, 500), Unpriced(rows=500, page_rows=500, selected=(200, 0, 0)))
    assert (state.reason, state.rewrites.rows_asked) == (RoundReason.BUDGET_SPENT, 64)
    assert state.rewrites.reasons[0].example.startswith("rounds.budget.roles.answerer.money is limited, and nobody knows")


def _charged_after(*facts: Fact) -> RoundState:
    """A round whose answerer may spend 400 tokens on two rewrites, and what became of them."""
    rules = RoundPolicy.model_validate({"budget": {"roles": {"answerer": {"tokens": 400}}}, **RULES})
    rounds = Rounds()

    class Told(Parts):
        def _refined(self, step: RefiningRequested) -> list[Fact]:
            return [RewritesRequested(step.rows, complete=True), *facts]

    return rounds.run(started(rules, 200), Told(rows=200, page_rows=200, selected=(2, 0, 0)))


def test_what_is_not_told_of_a_role_is_charged_as_all_that_it_was_allowed():
    """By an earlier release, which knows no roles, of an endpoint that does not count, or of one that is lost."""
    end = RewriteEnded(Axis.HARD, "problem-0", Ending.ACCEPTED, "", 1, 90, 0.5, roles_spent=(Spend(60, 0.25, ANSWERER),))
    for other in (
        RewriteEnded(Axis.HARD, "problem-1", Ending.ACCEPTED, "", 1, 90, 0.5),
        RewriteEnded(Axis.HARD, "problem-1", Ending.ACCEPTED, "", 1, None, None, roles_spent=(Spend(None, None, ANSWERER),)),
        RowLost(None, "problem-1", 0, "scoring", "gone", Axis.HARD),
    ):
        counts = _charged_after(end, other).rewrites
        assert certain(of_role(counts.roles_charged, ANSWERER)).tokens == 60 + 200
        assert of_role(counts.roles_spent, ANSWERER) == Spend(60, 0.25, ANSWERER)
        assert counts.cost_unknown == (not isinstance(other, RowLost))


def test_what_was_called_for_nothing_is_charged_to_no_role():
    """A row that cannot be rewritten, or that was retracted, leaves a role all that it had."""
    limited = rewrite(parent=parent(id="problem-0"), roles_allowed=(Spend(200, None, ANSWERER),))
    refused = ended(limited, Ending.NOT_MADE, "too_long", ()).fact
    retracted = RewriteEnded(Axis.HARD, "problem-1", Ending.NOT_MADE, "retracted", 0)
    counts = _charged_after(refused, retracted).rewrites
    assert (of_role(counts.charged, ANSWERER), counts.cost_unknown) == (Spend(0, 0.0, ANSWERER), 0)


def test_a_round_without_budgets_of_roles_says_nothing_of_them():
    """Such is each policy that an earlier release wrote; one that names a role and limits nothing in it is no budget either."""
    rules = RoundPolicy.model_validate({"budget": {"tokens": 500}})
    assert rules.budget.limits() == (Spend(500, None),)
    assert is_limited(RoundPolicy.model_validate({"budget": {"roles": {"judge": {"tokens": 5}}}}).budget)
    assert not is_limited(RoundPolicy.model_validate({"budget": {"roles": {"judge": {}}}}).budget)
