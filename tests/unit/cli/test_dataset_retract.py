"""Which reasons a person may give for taking samples back."""

from typer.testing import CliRunner

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
