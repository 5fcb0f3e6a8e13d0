"""What a person reads when a command cannot do its work: one line that says what to change, and no traceback."""

import pytest
from typer.testing import CliRunner

from headrace.cli.main import app
from headrace.local.state import StackState, supervision, write_state

ON_KAFKA = [
    ("policy", "ls"),
    ("policy", "show", "-d", "x"),
    ("topics", "ls"),
    ("topics", "create"),
    ("dlq", "ls"),
    ("lag",),
    ("account",),
    ("watch",),
    ("dataset", "create", "x"),
    ("dataset", "cut", "x"),
]
ON_THE_STORE = [
    ("dataset", "ls"),
    ("dataset", "show", "x"),
    ("dataset", "path", "x"),
    ("sample", "show", "s", "-d", "x"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command where no stack is up."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("HEADRACE_KAFKA_START_S", "0.2")
    monkeypatch.setenv("HEADRACE_S3_ENDPOINT", "127.0.0.1:1")
    monkeypatch.setenv("HEADRACE_S3_ATTEMPTS_MAX", "1")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def the_line(done):
    assert done.exit_code == 1, done.output
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("arguments", ON_KAFKA, ids=" ".join)
def test_kafka_is_away(run, arguments):
    """The setting that names it, and the command that starts one."""
    line = the_line(run(*arguments))
    assert line.startswith("error: Kafka does not answer at 127.0.0.1:1 within 0.2 s: is HEADRACE_KAFKA right?")
    assert "`headrace up`" in line


@pytest.mark.parametrize("arguments", ON_THE_STORE, ids=" ".join)
def test_the_object_store_is_away(run, arguments):
    """The same for the store."""
    line = the_line(run(*arguments))
    assert line.startswith("error: object store: 127.0.0.1:1 does not answer")
    assert "is HEADRACE_S3_ENDPOINT right?" in line
    assert "`headrace up`" in line


@pytest.mark.parametrize("arguments", ON_KAFKA, ids=" ".join)
def test_no_broker_is_named(run, monkeypatch, arguments):
    """It is said at once, whatever the wait for a broker: there is none to wait for."""
    monkeypatch.delenv("HEADRACE_KAFKA")
    monkeypatch.setenv("HEADRACE_KAFKA_START_S", "1000")
    assert the_line(run(*arguments)) == (
        "error: no stack runs here: start one with `headrace up`, or set HEADRACE_KAFKA to host:port of a broker"
    )


@pytest.mark.parametrize("arguments", ON_THE_STORE, ids=" ".join)
def test_no_object_store_is_named(run, monkeypatch, arguments):
    """The same for the store."""
    monkeypatch.delenv("HEADRACE_S3_ENDPOINT")
    assert the_line(run(*arguments)).startswith("error: no object store is named: start a stack with `headrace up`, or set")


def test_other_programs_are_told_where_the_stack_is(run, tmp_path):
    """As a shell reads it; where none runs, in a line."""
    assert the_line(run("env")).startswith(f"error: no stack runs in {tmp_path}")
    with supervision(tmp_path):
        write_state(tmp_path, StackState("up", environment={"HEADRACE_S3_SECRET_KEY": "it's", "HEADRACE_KAFKA": "a:1"}))
        assert run("env").stdout.splitlines() == ["export HEADRACE_KAFKA=a:1", "export HEADRACE_S3_SECRET_KEY='it'\"'\"'s'"]


def test_the_gateway_is_away(run, tmp_path, monkeypatch):
    """What is waited for is said, and how many samples have no answer; the exit code is 1."""
    monkeypatch.setattr("headrace.cli.submit._QUIET_S", 0.1)
    file = tmp_path / "samples.jsonl"
    file.write_text('{"messages": []}\n')
    done = run("submit", "-d", "x", "--gateway", "127.0.0.1:1", "--patience", "0.3", str(file))
    assert done.exit_code == 1
    waiting, failed, summary = done.stderr.splitlines()
    assert waiting.startswith("no answer from the gateway at 127.0.0.1:1 yet")
    assert "is HEADRACE_GATEWAY right" in failed
    assert "1 samples have no answer" in failed
    assert summary == "0 received, 0 refused"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("HEADRACE_KAFKA_START_S", "soon"),
        ("HEADRACE_S3_TIMEOUT_S", "-1"),
        ("HEADRACE_S3_ENDPOINT", "http://127.0.0.1:9000/x"),
        ("HEADRACE_KAFKA", "nowhere"),
    ],
)
def test_a_setting_that_cannot_be_is_named(run, monkeypatch, setting, value):
    """By the name that it has in the environment."""
    monkeypatch.setenv(setting, value)
    command = ("dataset", "show", "x") if "S3" in setting else ("policy", "ls")
    assert setting in the_line(run(*command))


def test_a_fault_of_ours_keeps_its_trace(run, monkeypatch):
    """Only what a person can mend becomes a line."""
    monkeypatch.setattr("headrace.cli.stack.read_state", lambda _: 1 / 0)
    assert isinstance(run("status").exception, ZeroDivisionError)
