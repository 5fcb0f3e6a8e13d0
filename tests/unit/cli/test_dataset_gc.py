"""What `dataset gc` refuses before it looks at anything."""

import pytest
from typer.testing import CliRunner

from headrace.cli.main import app

NOWHERE = {"HEADRACE_S3_ENDPOINT": "127.0.0.1:1", "HEADRACE_S3_START_S": "0.1", "COLUMNS": "200"}


@pytest.mark.parametrize("grace", ["0s", "59m", "3599s"])
def test_a_grace_that_a_cut_may_outlast_is_refused(grace):
    """It could take a running cut's shards; the error says what to do."""
    done = CliRunner().invoke(app, ["dataset", "gc", "--grace", grace], env=NOWHERE)
    assert done.exit_code == 1
    assert "--grace below 1h" in done.output
    assert "--while-idle" in done.output


@pytest.mark.parametrize("more", [["--while-idle"], ["--dry-run"]])
def test_where_nothing_is_cut_or_deleted_any_grace_will_do(more):
    """It gets as far as the store, which is not there."""
    done = CliRunner().invoke(app, ["dataset", "gc", "--grace", "0s", *more], env=NOWHERE)
    assert done.exit_code
    assert "--grace below" not in done.output
