"""Which reasons a person may give for taking samples back."""

from typer.testing import CliRunner

from headrace.cli.dataset_retract import known_of
from headrace.cli.main import app
from headrace.core.retractions import BY_ROUNDS


def test_reasons_of_rounds_are_not_for_people():
    """They are refused with those that may be given, before anything is looked up."""
    for reason in BY_ROUNDS:
        done = CliRunner().invoke(app, ["dataset", "retract", "maths", "a", "--reason", reason.value])
        assert done.exit_code == 2
        assert "licence" in done.output
    told = CliRunner().invoke(app, ["dataset", "retract", "--help"], env={"COLUMNS": "200"}).output
    assert "licence" in told
    assert not [reason for reason in BY_ROUNDS if reason.value in told]


def test_what_a_round_took_out_is_retracted_again():
    """A round that is undone would bring it back otherwise; what a person retracted needs nothing more."""
    accepted, before, by_people = {"a": 3, "p": 40}, {"r": 7, "p": 33, "l": 1}, {"p": 33, "l": 1}
    known = known_of(["a", "r", "p", "l", "x"], None, accepted, before, by_people)
    assert known.requested == {"a": 3, "r": 7, "p": 40}
    assert (known.already, known.unknown) == (("l",), ("x",))
    assert known_of(["r", "l"], 5, {}, before, by_people).requested == {"r": 5, "l": 5}
