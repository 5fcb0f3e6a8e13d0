"""`headrace train`: options that say nothing together are refused before anything is asked of a stack."""

import pytest
from typer.testing import CliRunner

from headrace.cli.main import app


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--versions", "--follow"], "--versions takes each version"),
        (["--every", "5"], "with --follow"),
        (["--every-s", "5", "--rounds", "1"], "with --follow"),
        (["--rounds", "2"], "with --follow or --versions"),
    ],
)
def test_options_without_a_meaning_are_refused(options: list[str], told: str):
    """Nobody waits for a run that was meant to be another one."""
    done = CliRunner().invoke(app, ["train", "notes", *options])
    assert done.exit_code == 1
    assert told in done.output
