"""What is told while a stack ends."""

from headrace.local.control import _waited_for
from headrace.local.state import ProcessState, StackState


def test_what_still_runs_is_named():
    """Parts that have ended, or run elsewhere, are not waited for."""
    processes = {"admission": ProcessState("up", pid=7), "chat": ProcessState("stopped"), "triton": ProcessState("external")}
    assert _waited_for(StackState("stopping", processes=processes)) == "waits for admission"
    assert _waited_for(StackState("stopping")) == "waits for the supervisor"
