"""A whole round on the real spine: calm, under kills in every phase, and with what may be odd about a dataset or a command."""

import asyncio
import json
import sys
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from headrace.core.rounds.state import RoundState
from tests.e2e import round_compat, round_replicas, round_undone, rounds
from tests.e2e.mending import Mender
from tests.e2e.round_cases import (
    CASES,
    WORKING,
    begin,
    begin_and_hold,
    begin_another,
    command,
    decided,
    done,
    ends,
    prepare,
    roll_out,
    submit_until_measured_by,
    until,
    versions_of,
)
from tests.e2e.round_storm import OTHERS, PHASES, RoundStorm
from tests.e2e.rounds import CALLS_IN_FLIGHT, SAMPLES, RoundEnd, policy
from tests.e2e.spine import Spine, StubTriton
from tests.fakes import selection_oracle as oracle
from tests.fakes.certain import certain

pytestmark = [pytest.mark.connected, pytest.mark.timeout(900)]

SEEDS = (1, 2)
AT_RISK = 2 * CALLS_IN_FLIGHT
"""Calls that a kill may cost: those on their way, and as many whose replies Kafka is about to have."""


@pytest.fixture(scope="module")
def mender() -> Iterator[Mender]:
    """One endpoint for all."""
    with Mender().serving() as mender:
        yield mender


@pytest.fixture(scope="module")
def spine(mender: Mender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spine]:
    """One spine for all; each round has a dataset of its own."""
    settings = rounds.SETTINGS | {"HEADRACE_CHAT_URL": mender.url, "HEADRACE_CHAT_MODEL": "nobody"}
    with Spine.up(tmp_path_factory.mktemp("rounds"), settings, triton=StubTriton(versions=2)) as spine:
        roll_out(spine, "1")
        yield spine


@pytest.fixture(scope="module")
def calm(spine: Spine, mender: Mender) -> RoundEnd:
    """How the round ends when nothing is disturbed."""
    return rounds.run(spine, mender, "calm", policy())


def test_a_round_makes_a_better_version(spine: Spine, calm: RoundEnd):
    """Every number of a round is accounted for, every outcome occurs, and no call is paid twice."""
    state, rewrites, selected = calm.state, calm.state.rewrites, calm.state.selected
    assert selected is not None
    assert (state.phase, state.reason) == ("kept", "not_trained"), state.detail
    assert (state.rows.sent, state.rows.measured, state.rows.lost) == (SAMPLES, SAMPLES, ())
    assert min(selected.hard, selected.sparse, selected.low_quality) > 0
    assert set(rewrites.accepted) == {"hard", "sparse", "low_quality"}
    assert min(sum(each.values()) for each in (rewrites.accepted, rewrites.rejected, rewrites.not_made)) > 0
    third_refusals = sum(rewrites.not_made.values())  # what was refused twice is asked for in the same words again
    assert calm.calls.total() - len(calm.calls) == third_refusals
    require_closed_sums(spine, calm)


def test_two_scoring_processes_measure_what_one_does(spine: Spine, calm: RoundEnd):
    """The same version again, its rows shared between both: table, thresholds and selection are the same bytes."""
    file = spine.folder / "penniless-calm.yaml"
    file.write_text(json.dumps(policy(budget={"tokens": 0})))
    done(spine, "policy", "apply", "--dataset", "calm", "--file", str(file))
    with spine.replica("scoring"):
        mine, others = round_replicas.shares(spine)
        state = round_replicas.survey_again(spine, "calm")
    rows = round_replicas.rows_by_partition(spine, state.round_id)
    assert (state.phase, state.reason) == ("stopped", "budget_spent"), state.detail
    assert not mine & others
    assert min(sum(rows[each] for each in share) for share in (mine, others)) > 0
    assert rows.total() == state.rows.measured == SAMPLES
    assert round_replicas.objects_of(spine, state) == round_replicas.objects_of(spine, calm.state)


@pytest.fixture(scope="module")
def cases(spine: Spine) -> dict[str, RoundState]:
    """How those rounds ended that have nothing to rewrite."""
    rounds.ask_as(spine, "cases")
    prepare(spine)
    names = [name for name in CASES if name not in WORKING]
    for name in names:
        begin(spine, name)
    return ends(spine, *names)


@pytest.mark.parametrize(
    ("name", "reason", "rows"),
    [
        ("no-rows", "no_rows", 0),
        ("one-row", "nothing_selected", 1),
        ("two-rows", "nothing_selected", 2),
        ("equal-rows", "nothing_selected", 16),
        ("unselected", "nothing_selected", 30),
        ("penniless", "budget_spent", 30),
    ],
)
def test_a_round_that_has_nothing_to_do_ends_and_says_why(cases: dict[str, RoundState], name: str, reason: str, rows: int):
    """It is stopped with its reason, after every row was measured."""
    state = cases[name]
    assert (state.phase, state.reason) == ("stopped", reason), state.detail
    assert (state.rows.sent, state.rows.measured) == (rows, rows)
    assert state.rewrites.ended == 0


def test_a_round_without_money_selects_and_pays_for_nothing(cases: dict[str, RoundState], mender: Mender):
    """What would have been rewritten is known; no model was asked, for this case or for any before it."""
    assert certain(cases["penniless"].selected).total > 0
    assert mender.asked["cases"].total() == 0


@pytest.mark.usefixtures("cases")
def test_a_small_budget_mends_as_many_rows_at_a_time_as_it_pays_for(spine: Spine):
    """A page's share of it would begin none of them at their worst: they are put off, and begun beside fewer others.

    A start with settings under which no endpoint could be asked is refused before.
    """
    with patch.dict(spine.environment, {"HEADRACE_CHAT_URL": spine.environment["HEADRACE_CHAT_URL"].removesuffix("/v1")}):
        refused = command(spine, "round", "start", "thrifty", "--anyway")
    assert refused.exit_code == 1
    assert "HEADRACE_CHAT_URL (most end with /v1)" in refused.output + refused.stderr
    begin(spine, "thrifty")
    state = ends(spine, "thrifty")["thrifty"]
    rewrites, selected = state.rewrites, certain(state.selected)
    assert (state.phase, state.reason) == ("kept", "not_trained"), state.detail
    assert 20_000 // selected.total < 3_000
    assert (rewrites.ended, rewrites.not_begun, rewrites.lost) == (selected.total, 0, ())
    assert sum(rewrites.accepted.values()) > 0
    assert 0 < rewrites.tokens_charged <= 20_000
    (answerer,) = rewrites.roles_charged
    assert 0 < certain(answerer.tokens) <= 12_000
    assert {each.role for each in rewrites.roles_spent} == {"answerer", "refiner"}
    assert sum(certain(each.tokens) for each in rewrites.roles_spent) == rewrites.tokens


@pytest.mark.usefixtures("cases")
def test_a_round_is_frozen_and_goes_on_while_another_model_version_begins_to_measure(spine: Spine, mender: Mender):
    """A second start is refused, by the command and by the controller, though it was killed meanwhile.

    What a round measures stays with its own version.
    """
    round_id = begin_and_hold(spine, mender, "frozen")
    assert json.loads(done(spine, "round", "freeze", "frozen", "--reason", "lunch", "--json"))["phase"] == "frozen"
    refused = command(spine, "round", "start", "frozen")
    assert refused.exit_code == 1
    assert f"round {round_id} of frozen is frozen: one at a time" in refused.output + refused.stderr
    frozen = until(spine, "frozen", round_id, lambda state: state.phase == "frozen")
    spine.kill("controller")
    spine.restart("controller")
    another = begin_another(spine, frozen)
    assert (another.phase, another.reason) == ("stopped", "another_round_runs")
    roll_out(spine, "2", previous="1")
    submit_until_measured_by(spine, "one-row", "2")
    mender.held.clear()
    until(spine, "frozen", round_id, lambda state: state.rewrites.requested > 0 and not state.rewrites.under_way)
    done(spine, "round", "resume", "frozen")
    state = ends(spine, "frozen")["frozen"]
    assert (state.phase, state.reason) == ("kept", "not_trained"), state.detail
    assert versions_of(spine, "one-row") == {"1", "2"}
    assert versions_of(spine, "frozen") == {"1"}
    assert [each for each in decided(spine, "frozen") if each.rewrite]


@pytest.mark.usefixtures("cases")
def test_an_aborted_round_ends_at_once_and_its_rewrites_a_little_later(spine: Spine, mender: Mender):
    """What was under way goes on to its decision; nothing is committed, and another round may begin."""
    begin_and_hold(spine, mender, "aborted")
    done(spine, "round", "abort", "aborted", "--reason", "enough")
    mender.held.clear()
    state = ends(spine, "aborted")["aborted"]
    assert (state.phase, state.reason, state.committed) == ("stopped", "aborted", None)
    account = asyncio.run(spine.settled("aborted", len(CASES["aborted"].lines) + 1))
    assert account.dead_lettered == 0
    begin(spine, "aborted")
    done(spine, "round", "abort", "aborted")


@pytest.mark.usefixtures("cases")
def test_a_round_may_select_all_rows_but_those_held_out(spine: Spine):
    """Each of them has its rewrite, and the version as many rows as before."""
    begin(spine, "all-selected")
    state = ends(spine, "all-selected")["all-selected"]
    selected, committed, rows = certain(state.selected), certain(state.committed), len(CASES["all-selected"].lines)
    assert (state.phase, state.reason) == ("kept", "not_trained"), state.detail
    assert 0 < selected.held_out_rows < rows
    assert selected.hard == rows - selected.held_out_rows == state.rewrites.ended
    assert committed.rows_accepted == rows


@pytest.mark.usefixtures("cases")
def test_an_undone_round_leaves_the_rows_of_before_and_what_others_brought(spine: Spine):
    """Rewritten, added and evicted rows, with everybody killed in the middle; subscribers end with the same rows."""
    round_id = begin(spine, "undone")
    state = until(spine, "undone", round_id, lambda state: state.phase == "training")
    assert state.evicted > 0
    before = round_undone.rows_of(spine, "undone", state.begun.survey.version)
    made = round_undone.origins_of(spine, "undone", certain(state.committed).version)
    assert {axis for axis, _ in made.values()} == {"hard", "sparse", "low_quality"}
    rewritten, revision = next((name, at) for name, (axis, at) in made.items() if axis == "hard")
    round_undone.send_meanwhile(spine, "undone", rewritten, revision + 7)
    asyncio.run(spine.settled("undone", len(CASES["undone"].lines) + sum(state.rewrites.accepted.values()) + 2))
    spine.kill("admission")  # so that rows are on their way back when the others are killed
    assert json.loads(done(spine, "round", "abort", "undone", "--revert", "--json"))["phase"] == "reverting"
    until(spine, "undone", round_id, lambda state: certain(state.revert).restoring > 0)
    for name in round_undone.SERVICES[:-1]:
        spine.kill(name)
    for name in round_undone.SERVICES:
        spine.restart(name)
    state = ends(spine, "undone")["undone"]
    revert = certain(state.revert)
    assert (state.phase, state.reason, dict(revert.refused), revert.lost) == ("stopped", "aborted", {}, ()), state.detail
    assert revert.retracted == state.rewrites.accepted["sparse"]
    assert revert.restored == sum(axis != "sparse" for axis, _ in made.values()) - 1 + state.evicted
    after = round_undone.rows_of(spine, "undone")
    assert after.keys() == before.keys() | {"new"}
    assert after[rewritten][1] == revision + 7
    others = {"new", rewritten}
    assert {name: after[name][0] for name in after.keys() - others} == {name: before[name][0] for name in before.keys() - others}
    assert round_undone.told_to_subscribers(spine, "undone", after) == after
    assert json.loads(spine.headrace("dlq", "ls", "--json")) == []
    again = json.loads(done(spine, "round", "start", "undone", "--anyway", "--json"))
    assert again["begun"]["survey"]["version"] == certain(revert.standing).version
    done(spine, "round", "abort", "undone")


@pytest.mark.usefixtures("cases")
def test_a_round_in_the_authors_mode_is_what_their_formulas_say(spine: Spine, mender: Mender):
    """From the texts to the next version: the oracle's selection, every rewrite taken, and as many rows as the size law gives."""
    rows = round_compat.lines()
    table = round_compat.signals_of(rows)
    beyond = oracle.beyond(table, round_compat.EACH_AXIS, compat=True)
    expected = [(rows[row]["id"], axis) for row, axis in oracle.owners(beyond, compat=True)]
    both = int((beyond["hard"] & beyond["low_quality"]).sum())
    state = round_compat.played(spine, mender, rows)
    selected, committed = certain(state.selected), certain(state.committed)
    assert (state.phase, state.reason) == ("kept", "not_trained"), state.detail
    assert round_compat.selected_by(spine, state) == expected
    assert sum(state.rewrites.accepted.values()) == state.rewrites.ended == len(expected)
    assert 0 < both < min(selected.hard, selected.sparse, selected.low_quality)
    assert 0 < selected.collapsed == state.evicted
    assert committed.rows_accepted == oracle.paper_next_size(table["pairs"], beyond)
    assert committed.rows_accepted == len(rows) + both + selected.sparse - selected.collapsed
    made = round_compat.made_of(spine, "compat", committed.version)
    assert [each for each in made if each[1]] == sorted(expected)
    pairs = {row["id"]: pair for row, pair in zip(rows, table["pairs"], strict=True)}
    replaced = {name for name, axis in expected if axis != "sparse"}
    stays = [pairs[name] for name, axis in made if not axis]
    assert sorted(stays) == sorted({pair for name, pair in pairs.items() if name not in replaced})


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_in_a_round_it_comes_to_the_same(spine: Spine, mender: Mender, calm: RoundEnd, seed: int):
    """The same thresholds, selection, rewrites and rows as in the calm, and no call is paid again but those in flight."""
    storm = RoundStorm(spine, seed)
    stormy = rounds.run(spine, mender, f"storm-{seed}", policy(), storm)
    again = stormy.calls - calm.calls
    sys.stderr.write(f"  killed: {storm.told()}; {again.total()} calls paid again\n")
    assert storm.phases == set(PHASES), "a phase was over before it was seen"
    assert all(storm.kills_of(name) for name in OTHERS)
    assert stormy.thresholds == calm.thresholds
    assert stormy.selection == calm.selection
    assert stormy.rows == calm.rows
    assert set(stormy.calls) == set(calm.calls)
    assert again.total() <= AT_RISK * storm.kills_of("refinement")
    assert not calm.calls - stormy.calls
    require_closed_sums(spine, stormy)
    ours, theirs = stormy.state.rewrites, calm.state.rewrites
    assert (ours.accepted, ours.rejected, ours.not_made) == (theirs.accepted, theirs.rejected, theirs.not_made)
    assert (ours.attempts, ours.tokens) == (theirs.attempts, theirs.tokens)


def require_closed_sums(spine: Spine, end: RoundEnd) -> None:
    """Selected, asked for, and ended are the same; so are the rows before and after; nothing is dead-lettered."""
    state, rewrites, selected = end.state, end.state.rewrites, end.state.selected
    assert selected is not None
    assert selected.total == rewrites.requested == rewrites.ended
    added = rewrites.accepted.get("sparse", 0)
    assert len(end.rows) == SAMPLES + added - state.evicted
    assert 0 < state.evicted <= added
    assert (end.account.in_flight, end.account.dead_lettered) == (0, 0), end.account
    assert end.account.accepted == SAMPLES + sum(rewrites.accepted.values())
    assert json.loads(spine.headrace("dlq", "ls", "--json")) == []
