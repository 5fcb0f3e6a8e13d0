"""A round's way: every phase, every stop, freezing and deadlines."""

from dataclasses import replace

import pytest

from headrace.core.checkpoints import RollbackRequested
from headrace.core.dossiers import DatasetCutRequested, Gate
from headrace.core.rounds.facts import (
    Action,
    CheckpointMeasures,
    DeadlinePassed,
    Ending,
    RewriteEnded,
    RewritesRequested,
    RoundAsked,
    RoundProgressed,
    RoundStarted,
    RowLost,
    RowsMeasured,
    RowsSent,
)
from headrace.core.rounds.machine import advance
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.policy import AxisBounds, Budget, Guards, RoundPolicy
from headrace.core.rounds.reasons import ROUND_MEANING, RoundReason
from headrace.core.rounds.rules import Axis, Mode
from headrace.core.rounds.state import PASSED_MAX, Phase
from headrace.core.rounds.surveys import EvictionRequested, Purpose, RefiningRequested, SurveyRequested
from tests.fakes.certain import certain
from tests.fakes.round_parts import NEXT_VERSION, NOW, SURVEY, Parts, Rounds, going, started, steps_of, timers_of

WHOLE_WAY = ["surveying", "thresholds", "refining", "validating", "committing", "training", "evaluating", "kept"]


def test_a_round_goes_its_whole_way():
    """All phases in order, every step asked for once, and the round is kept by its held-out loss."""
    rounds = Rounds()
    state = rounds.run(started(), Parts())
    assert rounds.passed == WHOLE_WAY
    assert (state.phase, state.reason, state.ordinal) == (Phase.KEPT, RoundReason.HELD_OUT_HELD, 1)
    assert [type(step).__name__ for step in rounds.steps()] == [
        "SurveyRequested", "DensityRequested", "SelectionRequested", "RefiningRequested", "EvictionRequested",
        "DatasetCutRequested", "SurveyRequested", "SelectionRequested",
    ]  # fmt: skip
    assert (state.rows.sent, state.rows.measured, state.rewrites.ended, state.evicted) == (10, 10, 4, 1)
    assert (state.rewrites.tokens, certain(state.held_out).after) == (400, 1.4)


def test_a_round_remembers_its_phases():
    """Each with its beginning, also those that a person halted; of very many the latest."""
    rounds = Rounds()
    assert [each.phase for each in rounds.run(started(), Parts()).passed] == ["planned", *WHOLE_WAY[:-1]]
    late = Rounds()
    late.take(started())
    late.now += 5
    late.tell(RoundAsked(Action.FREEZE, "", "ada"))
    assert [(each.phase, each.since) for each in late.states["r1"].passed] == [("planned", NOW), ("surveying", NOW)]
    for _ in range(PASSED_MAX):
        late.tell(RoundAsked(Action.RESUME, "", "ada"))
        late.tell(RoundAsked(Action.FREEZE, "", "ada"))
    state = late.states["r1"]
    assert (len(state.passed), state.passed[-1].phase, state.passed[0].phase) == (PASSED_MAX, "surveying", "frozen")


def test_the_evaluation_asks_the_new_model_about_the_round_s_own_rows():
    """The held-out rows of the version surveyed, under the version trained on what came of it; nobody judges them."""
    rounds = Rounds()
    rounds.run(started(), Parts())
    evaluation = [step for step in rounds.steps() if isinstance(step, SurveyRequested)][1].survey
    assert (evaluation.version, evaluation.model_version) == (SURVEY.version, "3")
    assert (evaluation.purpose, evaluation.base_model, evaluation.judge) == (Purpose.EVALUATION, "", "")


def test_a_risen_held_out_loss_goes_back():
    """The model goes back to the round's own checkpoint."""
    rounds = Rounds()
    state = rounds.run(started(), Parts(held_out_after=1.6))
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, RoundReason.HELD_OUT_ROSE)
    assert RollbackRequested("signals", "arithmetic/r1", "ab" * 32, "round r1") in rounds.steps()
    assert "a rise of +0.1000" in state.detail
    tolerant = RoundPolicy(held_out_rise_max=0.2)
    assert Rounds().run(started(tolerant), Parts(held_out_after=1.6)).phase is Phase.KEPT


@pytest.mark.parametrize(
    ("rules", "parts", "phase", "reason"),
    [
        ({}, {"rows": 0}, Phase.STOPPED, RoundReason.NO_ROWS),
        ({}, {"selected": (0, 0, 0)}, Phase.STOPPED, RoundReason.NOTHING_SELECTED),
        ({}, {"not_made": 10}, Phase.STOPPED, RoundReason.NOTHING_MEASURED),
        ({}, {"lost": 10}, Phase.STOPPED, RoundReason.NOTHING_MEASURED),
        ({"selected_share_min": 0.5}, {}, Phase.STOPPED, RoundReason.SELECTED_SHARE_SMALL),
        ({}, {"endings": (Ending.REJECTED,)}, Phase.STOPPED, RoundReason.NOTHING_ACCEPTED),
        ({}, {"endings": (Ending.NOT_MADE,)}, Phase.STOPPED, RoundReason.NOTHING_ACCEPTED),
        ({"budget": Budget(tokens=0)}, {}, Phase.STOPPED, RoundReason.BUDGET_SPENT),
        ({"budget": Budget(money=0.0)}, {}, Phase.STOPPED, RoundReason.BUDGET_SPENT),
        ({"train": False}, {}, Phase.KEPT, RoundReason.NOT_TRAINED),
        ({}, {"held_out_rows": 0}, Phase.KEPT, RoundReason.NOTHING_HELD_OUT),
        ({}, {"refused": "golden: too high"}, Phase.STOPPED, RoundReason.CHECKPOINT_REFUSED),
        ({}, {"held_out_after": None}, Phase.STOPPED, RoundReason.NOTHING_MEASURED),
        ({"guards": Guards(model_written_share_max=0.1)}, {}, Phase.FROZEN, RoundReason.MODEL_WRITTEN_SHARE),
        ({"guards": Guards(human_rows_min=9)}, {}, Phase.FROZEN, RoundReason.HUMAN_ROWS),
        ({"guards": Guards(lost_rows_max=0)}, {"lost": 1}, Phase.FROZEN, RoundReason.ROWS_LOST),
        ({"guards": Guards(held_out_loss_max=1.3)}, {}, Phase.FROZEN, RoundReason.HELD_OUT_LOSS),
        ({"guards": Guards(held_out_loss_max=1.4)}, {}, Phase.KEPT, RoundReason.HELD_OUT_HELD),
    ],
)
def test_a_round_says_why_it_ended(rules, parts, phase, reason):
    """Each stop rule and each guard, with its code and its numbers."""
    parts = Parts(**parts)
    state = Rounds().run(started(RoundPolicy(**rules), parts.rows), parts)
    assert (state.phase, state.reason) == (phase, reason)
    assert state.detail
    assert state.deadline is None


def test_every_reason_has_a_meaning():
    """A code that nobody can look up says nothing."""
    assert set(ROUND_MEANING) == set(RoundReason)


def test_near_duplicates_freeze_the_round():
    """Rewrites that only say again what is there are a sign of collapse."""
    parts = Parts(endings=(Ending.ACCEPTED, Ending.REJECTED, Ending.REJECTED, Ending.REJECTED), end_reason="near_duplicate")
    state = Rounds().run(started(), parts)
    assert (state.phase, state.reason, state.frozen_in) == (Phase.FROZEN, RoundReason.NEAR_DUPLICATE_SHARE, Phase.VALIDATING)
    assert "4 of 4 rewrites" in state.detail


@pytest.mark.parametrize(
    ("guards", "reason"), [(Guards(human_rows_min=9), "human_rows"), (Guards(held_out_loss_max=1.3), "held_out_loss")]
)
def test_a_person_waives_a_guard(guards: Guards, reason: str):
    """A resumed round goes on past the guard that froze it, and remembers that it was waived."""
    rounds, parts = Rounds(), Parts()
    rounds.run(started(RoundPolicy(guards=guards)), parts)
    sends = list(rounds.tell(RoundAsked(Action.RESUME, "looked at it", "ada")))
    while sends:
        for fact in parts.answer(sends.pop(0)):
            sends += rounds.tell(fact)
    assert rounds.states["r1"].phase is Phase.KEPT
    assert rounds.states["r1"].waived == (reason,)


def test_one_round_at_a_time():
    """A second start is answered by a stopped round of its own; after the first has ended the next one counts on."""
    rounds = Rounds()
    rounds.take(started())
    refused = rounds.run(started(round_id="r2"), Parts())
    assert (refused.phase, refused.reason, refused.ordinal) == (Phase.STOPPED, RoundReason.ANOTHER_ROUND_RUNS, 0)
    assert rounds.states["r1"].phase is Phase.SURVEYING
    assert rounds.take(started()) == ()
    rounds.tell(RoundAsked(Action.ABORT, "enough", "ada"))
    assert rounds.run(started(round_id="r3"), Parts()).ordinal == 2


def test_rules_that_cannot_be_read_begin_nothing():
    """A round is not begun by half a policy, nor in a mode that lacks its base model."""
    begin = started().fact
    compat = started(RoundPolicy(mode=Mode.MIDDO_COMPAT)).fact
    assert isinstance(begin, RoundStarted)
    assert isinstance(compat, RoundStarted)
    broken = RoundProgressed("arithmetic", "r1", replace(begin, rules_json="{"))
    no_base = replace(SURVEY, base_model="", base_model_version="")
    lacking = RoundProgressed("arithmetic", "r1", replace(compat, survey=no_base))
    for each in (broken, lacking):
        state = Rounds().run(each, Parts())
        assert (state.phase, state.reason) == (Phase.STOPPED, RoundReason.BAD_RULES)


def test_without_the_sparse_axis_no_densities_are_asked_for():
    """Nothing is computed that nobody will look at."""
    rounds = Rounds()
    rounds.run(started(RoundPolicy(sparse=AxisBounds(enabled=False))), Parts(selected=(2, 0, 1)))
    assert not {"DensityRequested", "EvictionRequested"} & {type(step).__name__ for step in rounds.steps()}


def test_a_scale_that_may_grow_evicts_nothing():
    """`scale: paper` adds without paying for it."""
    rounds = Rounds()
    rounds.run(started(RoundPolicy(scale="paper")), Parts())
    assert not [step for step in rounds.steps() if isinstance(step, EvictionRequested)]


def test_the_barrier_counts_every_row_once():
    """A dead letter that is read again counts no second time; the last row, measured or named, opens the barrier."""
    rounds = Rounds()
    rounds.take(started(rows=3))
    rounds.tell(RowsSent(Purpose.ROUND, 3, complete=True))
    rounds.tell(RowsMeasured(Purpose.ROUND, 1, 0))
    for _ in range(3):
        assert rounds.tell(RowLost(Purpose.ROUND, "problem-1", 0, "scoring", "gone")) == ()
    assert steps_of(rounds.tell(RowsMeasured(Purpose.ROUND, 1, 0)))


def test_a_budget_is_held_page_by_page():
    """What is left is shared out over the next page once the one before has ended; unknown costs count as all allowed."""
    limits, rules = Limits(page_rows=2), RoundPolicy(budget=Budget(tokens=500))
    rounds = Rounds(limits)
    state = rounds.run(started(rules), Parts())
    pages = [step for step in rounds.steps() if isinstance(step, RefiningRequested)]
    assert [(page.first_row, page.rows, page.tokens_allowed_each) for page in pages] == [(0, 2, 250), (2, 2, 150)]
    assert state.phase is Phase.KEPT
    rounds = Rounds(limits)
    state = rounds.run(started(rules), Parts(tokens=None))
    pages = [step for step in rounds.steps() if isinstance(step, RefiningRequested)]
    assert [(page.first_row, page.tokens_allowed_each) for page in pages] == [(0, 250)]
    assert (state.rewrites.cost_unknown, state.rewrites.tokens_charged, state.phase) == (2, 500, Phase.KEPT)


def test_pages_carry_what_the_round_asks_of_its_rewrites():
    """By the rules that it began with: admission, scoring and refinement need no others."""
    rules = RoundPolicy.model_validate({"judge": "generated", "meaning_cosine_min": 0.7, "unmended": "drop"})
    assert RoundPolicy(judge_rewrites="endpoint").gate() == Gate("headrace", "logits", 0.8, "keep", judge_rewrites=True)
    unjudged = rules.model_copy(update={"low_quality": rules.low_quality.model_copy(update={"enabled": False})})
    for each, judge in ((rules, "generated"), (unjudged, "")):
        rounds = Rounds()
        rounds.run(started(each), Parts())
        gates = {step.gate for step in rounds.steps() if isinstance(step, RefiningRequested)}
        assert gates == {Gate("headrace", judge, 0.7, "drop")}


def test_refinement_ends_at_its_deadline():
    """What was made is committed, what is under way is left out, and what ends later changes nothing."""
    rounds = Rounds()
    parts = Parts()
    waiting = list(rounds.take(started()))
    while waiting:
        facts = parts.answer(waiting.pop(0))
        for fact in facts if rounds.states["r1"].phase is not Phase.REFINING else facts[:2]:
            waiting += rounds.tell(fact)
    assert rounds.states["r1"].phase is Phase.VALIDATING
    assert isinstance(steps_of(rounds.deadline())[0], DatasetCutRequested)
    before = rounds.states["r1"]
    assert rounds.tell(RewriteEnded(Axis.HARD, "problem-1", Ending.ACCEPTED, "", 1)) == ()
    assert rounds.states["r1"] == before
    assert before.rewrites.under_way == 3


def test_a_page_that_never_comes_ends_at_the_deadline_too():
    """Refinement passes through validation, however briefly, and stops with what it has: nothing."""
    rounds, parts = Rounds(), Parts()
    waiting = list(rounds.take(started()))
    while waiting:
        facts = parts.answer(waiting.pop(0))
        for fact in facts if rounds.states["r1"].phase is not Phase.REFINING else ():
            waiting += rounds.tell(fact)
    assert rounds.states["r1"].phase is Phase.REFINING
    rounds.deadline()
    state = rounds.states["r1"]
    assert (state.phase, state.reason) == (Phase.STOPPED, RoundReason.NOTHING_ACCEPTED)
    assert [each.phase for each in state.passed][-2:] == [Phase.REFINING, Phase.VALIDATING]


@pytest.mark.parametrize("phase", ["surveying", "thresholds", "committing", "training", "evaluating"])
def test_every_phase_has_a_deadline(phase):
    """A phase that lasts too long stops the round and says which one it was."""
    rounds = going(phase)
    rounds.deadline()
    assert rounds.states["r1"].phase is Phase.STOPPED
    assert rounds.states["r1"].reason == f"deadline_{phase}"


def test_a_clock_that_jumped_ends_no_phase():
    """A timer that comes early is set again; one of another transition says nothing."""
    rounds = going("surveying")
    state = rounds.states["r1"]
    [(timer, due)] = timers_of(rounds.tell(DeadlinePassed(state.transition)))
    assert (timer.transition, due) == (state.transition, NOW + 15.0)
    assert rounds.tell(DeadlinePassed(state.transition - 1)) == ()
    assert rounds.states["r1"].phase is Phase.SURVEYING


@pytest.mark.parametrize("phase", WHOLE_WAY[:-1])
def test_a_frozen_round_counts_on_and_goes_on(phase):
    """Freezing keeps the place: what comes meanwhile is counted, nothing is asked for, and the end is the same."""
    rounds, parts = Rounds(), Parts()
    waiting, frozen = list(rounds.take(started())), False
    while waiting:
        for fact in parts.answer(waiting.pop(0)):
            if rounds.states["r1"].phase == phase and not frozen:
                frozen = True
                assert rounds.tell(RoundAsked(Action.FREEZE, "let me look", "ada")) == ()
            sends = rounds.tell(fact)
            assert not (frozen and rounds.states["r1"].phase is Phase.FROZEN and sends)
            waiting += sends
        if not waiting and rounds.states["r1"].phase is Phase.FROZEN:
            waiting += rounds.tell(RoundAsked(Action.RESUME, "fine", "ada"))
    assert frozen or phase in {"validating", "committing"}  # left as soon as entered where everything is answered in order
    assert rounds.states["r1"].phase is Phase.KEPT
    assert len(rounds.steps()) == 8


def test_a_dead_letter_freezes_once():
    """The person who resumed knew of it: reading it again freezes nothing, another one does."""
    rounds = going("thresholds")
    letter = RoundAsked(Action.FREEZE, "DamagedVersion: gone", "controller", "letter-1")
    rounds.tell(letter)
    assert (rounds.states["r1"].phase, rounds.states["r1"].reason) == (Phase.FROZEN, RoundReason.STEP_FAILED)
    rounds.tell(RoundAsked(Action.RESUME, "redriven", "ada"))
    rounds.tell(letter)
    assert rounds.states["r1"].phase == "thresholds"
    rounds.tell(replace(letter, dead_letter_id="letter-2"))
    assert rounds.states["r1"].phase == "frozen"


def test_a_rewrite_that_was_sent_back_counts_once():
    """Lost, then ended after all: read among the dead letters again, as after a restart, it is lost no second time."""
    rounds = going("refining")
    rounds.tell(RewritesRequested(4, complete=True))
    lost = RowLost(None, "problem-1", 0, "scoring", "gone", Axis.HARD)
    rounds.tell(lost)
    assert rounds.states["r1"].rewrites.ended == 1
    rounds.tell(RewriteEnded(Axis.HARD, "problem-1", Ending.ACCEPTED, "", 1))
    before = rounds.states["r1"]
    assert rounds.tell(lost) == ()
    assert rounds.states["r1"] == before
    assert (before.rewrites.ended, before.rewrites.lost, before.rewrites.under_way) == (1, (), 3)


def test_only_a_checkpoint_of_the_new_version_counts():
    """One trained on something else is no answer, whether it comes before the version or after it."""
    rounds = going("training")
    assert rounds.tell(CheckpointMeasures("ee" * 32, "7", "", "77" * 32)) == ()
    assert rounds.states["r1"].phase is Phase.TRAINING
    assert steps_of(rounds.tell(CheckpointMeasures("cd" * 32, "8", "", NEXT_VERSION)))


def test_facts_of_others_change_nothing():
    """Neither another round's, nor another dataset's, nor what comes after the end."""
    rounds = Rounds()
    state = rounds.run(started(), Parts())
    for other in (("arithmetic", "r9"), ("algebra", "r1"), ("arithmetic", "r1")):
        led = advance(state, RoundProgressed(*other, RowsSent(Purpose.ROUND, 5, complete=False)), NOW)
        assert (led.state, led.sends) == (state, ())
    assert advance(None, RoundProgressed("arithmetic", "r9", RowsMeasured(Purpose.ROUND, 1, 0)), NOW).state is None
