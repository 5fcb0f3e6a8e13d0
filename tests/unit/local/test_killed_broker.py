"""How a broker is started that may have been killed."""

import subprocess
import sys
import time

import pytest

from headrace.local.killed_broker import end_session, was_killed

ACTIVE = "12:00 WARN Performing controller activation."
ENDED = "12:01 INFO Fencing broker 1 at epoch 11 because its session has timed out."
COMMIT = "12:02 DEBUG handleCommit: publishing new image"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A controller that has no session to end is seen to have none at once."""
    monkeypatch.setattr("headrace.local.killed_broker._SESSION_S", 0.3)


def controller(*lines, ends=False):
    """A program that says these lines, then goes on for a minute unless it ends by itself."""
    return (sys.executable, "-uc", f"import time\nprint({chr(10).join(lines)!r})\ntime.sleep({0 if ends else 60})")


@pytest.mark.parametrize(
    ("entries", "killed"),
    [
        ([], False),
        (["meta.properties"], False),
        (["__cluster_metadata-0"], True),
        (["__cluster_metadata-0", ".kafka_cleanshutdown"], False),
    ],
)
def test_a_broker_was_killed_if_it_ran_and_left_no_word(entries, killed, tmp_path):
    """A folder that was only formatted has no session to end."""
    for entry in entries:
        (tmp_path / entry).mkdir()
    assert was_killed(tmp_path) is killed


@pytest.mark.parametrize(
    ("lines", "passed_on"),
    [((ACTIVE, COMMIT, ENDED, COMMIT, COMMIT, COMMIT), ACTIVE), ((ACTIVE,), ACTIVE), (("no such port",), "no such port")],
    ids=["ended", "no session", "failed"],
)
def test_the_controller_is_stopped_once_the_session_is_over(lines, passed_on, capsys):
    """Its end is committed, or there is none to wait for, or the controller failed; what it warned of is passed on."""
    began = time.monotonic()
    end_session(controller(*lines, ends=ACTIVE not in lines))
    assert time.monotonic() - began < 30
    assert capsys.readouterr().out.splitlines() == [passed_on]


def test_a_session_that_is_not_over_for_good_is_waited_for(monkeypatch):
    """What is committed behind its end may have been written before it."""
    monkeypatch.setattr("headrace.local.killed_broker._CONTROLLER_S", 1.0)
    began = time.monotonic()
    end_session(controller(COMMIT, COMMIT, COMMIT, ACTIVE, ENDED, COMMIT, COMMIT))
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(("ran", "said"), [(False, "broker"), (True, "WARN controller\nbroker")])
def test_the_program_becomes_the_broker(ran, said, tmp_path):
    """Its controller runs before only where there may be a session."""
    if ran:
        (tmp_path / "__cluster_metadata-0").mkdir()
    commands = (*controller("WARN controller", ends=True), "--", sys.executable, "-c", "print('broker')")
    command = (sys.executable, "-m", "headrace.local.killed_broker", str(tmp_path), *commands)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == said
