"""The state folder: what is written is read, and only a living supervisor counts."""

import json
import stat

import pytest

from headrace.local.state import ProcessState, StackState, environment, is_supervised, read_state, supervision, write_state


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


def test_there_is_one_supervisor(tmp_path):
    """A second one is turned away."""
    with supervision(tmp_path), pytest.raises(BlockingIOError), supervision(tmp_path):
        pytest.fail("two supervisors")
