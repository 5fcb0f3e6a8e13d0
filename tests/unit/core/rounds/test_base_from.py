"""Which earlier round's losses of the base a new one takes over: settled when it begins, from the states there are."""

from dataclasses import replace

from headrace.core.rounds.facts import Action, RoundAsked, RoundProgressed, RoundStarted
from headrace.core.rounds.state import Phase
from headrace.core.rounds.surveys import SurveyRequested
from tests.fakes.round_parts import Parts, Rounds, started


def begun(rounds: Rounds, round_id: str = "r9", **of_survey) -> str:
    """The round that a new one is told to take losses from."""
    progressed = started(round_id=round_id)
    fact = progressed.fact
    assert isinstance(fact, RoundStarted)
    fact = replace(fact, survey=replace(fact.survey, **of_survey))
    rounds.sent.clear()
    rounds.take(RoundProgressed(progressed.dataset_id, round_id, fact))
    survey = rounds.states[round_id].begun.survey
    assert [step.survey for step in rounds.steps() if isinstance(step, SurveyRequested)] == [survey]
    return survey.base_from


def after(*round_ids: str) -> Rounds:
    rounds = Rounds()
    for round_id in round_ids:
        assert rounds.run(started(round_id=round_id), Parts()).phase is Phase.KEPT
    return rounds


def test_the_first_round_has_nowhere_to_take_them_from():
    """Whatever the command says: only the states count."""
    assert begun(Rounds()) == ""
    assert begun(Rounds(), base_from="r1") == ""


def test_the_latest_round_with_the_same_base_is_named():
    """By model and version, whichever version judged; another base, or none, takes nothing over."""
    assert begun(after("r1", "r0")) == "r0"
    assert begun(after("r1"), model_version="7") == "r1"
    assert begun(after("r1"), base_model_version="2") == ""
    assert begun(after("r1"), base_model="another") == ""
    assert begun(after("r1"), base_model="", base_model_version="") == ""


def test_a_round_that_has_no_table_is_passed_over():
    """One that was aborted while it was surveyed measured some rows, and nobody put them together."""
    rounds = after("r1")
    rounds.take(started(round_id="r2"))
    rounds.tell(RoundAsked(Action.ABORT, "", "ada"), "r2")
    assert begun(rounds) == "r1"


def test_an_evaluation_takes_nothing_over():
    """It asks the new version alone."""
    rounds = after("r1", "r2")
    surveys = [step.survey for step in rounds.steps() if isinstance(step, SurveyRequested)]
    assert [(each.purpose, each.base_from) for each in surveys] == [
        ("round", ""), ("evaluation", ""), ("round", "r1"), ("evaluation", ""),
    ]  # fmt: skip
