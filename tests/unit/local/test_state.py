"""The state folder: what is written is read, and only a living supervisor counts."""

import json
import os
import stat

import pytest

from headrace.local.state import (
    ProcessState,
    StackState,
    environment,
    find_stack,
    is_supervised,
    read_state,
    supervision,
    write_state,
)


def test_what_is_written_is_read(tmp_path):
    """A state survives the file."""
    state = StackState(
        "up", 12, 3.5, {"kafka": ProcessState("up", pid=7, ports={"broker": 9}, log="x")}, {"HEADRACE_KAFKA": "a:1"}
    )
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


def test_a_folder_without_a_state_is_down(tmp_path):
    """Nothing written means nothing runs."""
    assert read_state(tmp_path) == StackState()
    assert not is_supervised(tmp_path)


def test_only_the_owner_reads_the_state(tmp_path):
    """It holds the object store's key."""
    write_state(tmp_path, StackState())
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "state.json").read_text())["phase"] == "down"


def test_the_settings_are_told_while_a_supervisor_lives(tmp_path):
    """A client of a stack that is down is not sent to ports where nobody listens."""
    with supervision(tmp_path):
        write_state(tmp_path, StackState("up", environment={"HEADRACE_KAFKA": "a:1"}))
        assert environment(tmp_path) == {"HEADRACE_KAFKA": "a:1"}
    assert environment(tmp_path) == {}


def test_what_runs_here_is_found_and_let_go_of(tmp_path, monkeypatch):
    """Only where the user has set nothing himself, as long as it runs, and not at all if he means another broker."""
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.setenv("HEADRACE_S3_BUCKET", "mine")
    assert not find_stack()
    told = {"HEADRACE_KAFKA": "a:1", "HEADRACE_S3_BUCKET": "theirs", "HEADRACE_S3_ENDPOINT": "a:2"}
    with supervision(tmp_path):
        write_state(tmp_path, StackState("up", environment=told))
        assert find_stack()
        assert [os.environ[name] for name in told] == ["a:1", "mine", "a:2"]
        write_state(tmp_path, StackState("up", environment=told | {"HEADRACE_KAFKA": "a:3"}))
        assert find_stack()
        assert os.environ["HEADRACE_KAFKA"] == "a:3"
        monkeypatch.setenv("HEADRACE_KAFKA", "elsewhere:1")
        assert not find_stack()
        assert "HEADRACE_S3_ENDPOINT" not in os.environ
        monkeypatch.delenv("HEADRACE_KAFKA")
        assert find_stack()
    assert not find_stack()
    assert "HEADRACE_KAFKA" not in os.environ


def test_there_is_one_supervisor(tmp_path):
    """A second one is turned away."""
    with supervision(tmp_path), pytest.raises(BlockingIOError), supervision(tmp_path):
        pytest.fail("two supervisors")
