"""A keeper on small processes: it starts, watches, restarts and gives up."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.local.keeper import Keeper, restart_delay_s
from headrace.local.launch import Place, StackFailed, run_tool, signal_group
from headrace.local.processes import created_at, is_same, kill_recorded
from headrace.local.state import HOME, ProcessState, StackState
from tests.fakes.script import SLEEPS, Script, until

LEAVES_A_CHILD = "import subprocess; subprocess.Popen(['sleep', '600'])"
HAS_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]); {SLEEPS}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where the script lives."""
    return Place(tmp_path, tmp_path / "script.log", {})


async def test_a_process_that_dies_is_started_again(place):
    """The new one has another number, and the death is counted."""
    keeper = Keeper(Script(SLEEPS), place, lambda: None)
    task = asyncio.create_task(keeper.keep())
    await until(lambda: keeper.state.state == "up")
    first = keeper.state.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: keeper.state.state == "up" and keeper.state.pid not in {0, first})
    assert keeper.state.restarts == 1
    task.cancel()
    await keeper.stop()
    assert keeper.state.state == "stopped"


async def test_a_process_that_cannot_be_started_is_tried_again(place, monkeypatch):
    """The machine may have no process to spare, or its disk no space, for a while."""
    keeper = Keeper(Script(SLEEPS), place, lambda: None)
    task = asyncio.create_task(keeper.keep())
    await until(lambda: keeper.state.state == "up")
    monkeypatch.setattr("headrace.local.keeper.spawn", _has_no_process_to_spare)
    os.kill(keeper.state.pid, signal.SIGKILL)
    await until(lambda: "Resource temporarily" in keeper.state.detail or task.done())
    assert keeper.state.detail.startswith("could not be started")
    assert keeper.state.pid == 0
    monkeypatch.undo()
    await until(lambda: keeper.state.state == "up" or task.done())
    assert not task.done()
    task.cancel()
    await keeper.stop()


async def test_a_part_that_can_never_be_started_is_given_up(place, monkeypatch):
    """The error tells why it could not be."""
    monkeypatch.setattr("headrace.local.keeper.spawn", _has_no_process_to_spare)
    with pytest.raises(StackFailed, match=r"could not be started \(.*Resource temporarily.*\) 3 times before it served"):
        await Keeper(Script(SLEEPS), place, lambda: None).keep()


async def test_stopping_ends_children_too(place):
    """A process group is stopped as one."""
    keeper = Keeper(Script(HAS_A_CHILD), place, lambda: None)
    task = asyncio.create_task(keeper.keep())
    await until(lambda: keeper.state.state == "up")
    group = keeper.state.pid
    await until(lambda: len(_members(group)) == 2)
    task.cancel()
    await keeper.stop()
    await until(lambda: not _members(group))


async def test_a_part_that_never_serves_is_given_up(place):
    """The error shows the end of its log."""
    keeper = Keeper(Script("raise SystemExit('no disk left')", probe=_refuses), place, lambda: None)
    with pytest.raises(StackFailed, match=r"3 times before it served(?s:.*)no disk left"):
        await keeper.keep()


async def test_a_part_that_does_not_answer_in_time_is_given_up(place):
    """Waiting has an end."""
    keeper = Keeper(Script(SLEEPS, ready_s=0.3, probe=_refuses), place, lambda: None)
    with pytest.raises(StackFailed, match="did not serve within"):
        await keeper.keep()
    await keeper.stop()


async def test_a_server_that_stops_answering_is_shown_as_unhealthy(place, monkeypatch):
    """It is not killed: it may only be slow."""
    monkeypatch.setattr("headrace.local.keeper.PROBE_EVERY_S", 0.1)
    refuse = asyncio.Event()

    async def probe():
        if refuse.is_set():
            raise ConnectionError("gone")

    keeper = Keeper(Script(SLEEPS, probe=probe), place, lambda: None)
    task = asyncio.create_task(keeper.keep())
    await until(lambda: keeper.state.state == "up")
    refuse.set()
    await until(lambda: keeper.state.state == "unhealthy")
    refuse.clear()
    await until(lambda: keeper.state.state == "up")
    task.cancel()
    await keeper.stop()


async def test_what_a_dead_supervisor_left_is_killed_and_nothing_else(place):
    """A number that now belongs to another process, and no number at all, are left alone."""
    keeper = Keeper(Script(SLEEPS), place, lambda: None)
    task = asyncio.create_task(keeper.keep())
    await until(lambda: keeper.state.state == "up")
    task.cancel()
    pid, created = keeper.state.pid, keeper.state.created
    other = StackState(processes={"other": ProcessState(pid=pid, created=created - 60), "none": ProcessState()})
    assert kill_recorded(other) == []
    assert is_same(pid, created)
    left = StackState(processes={"left": ProcessState(pid=pid, created=created)})
    assert kill_recorded(left) == ["left"]
    await keeper.stop()


@pytest.mark.parametrize(("home", "killed"), [("ours", ["part"]), ("theirs", []), (None, [])])
def test_a_group_without_its_leader_is_killed_only_where_a_member_is_of_this_stack(home, killed):
    """After a reboot the number that was recorded may be the group of a stranger whose leader has ended."""
    environment = {name: value for name, value in os.environ.items() if name != HOME} | ({HOME: home} if home else {})
    leader = subprocess.Popen((sys.executable, "-c", LEAVES_A_CHILD), env=environment, start_new_session=True)
    try:
        leader.wait()
        part = ProcessState(pid=leader.pid, created=1.0)
        assert kill_recorded(StackState(processes={"part": part}, environment={HOME: "ours"})) == killed
        asyncio.run(until(lambda: len(_members(leader.pid)) == (0 if killed else 1)))
    finally:
        signal_group(leader.pid, signal.SIGKILL)


def test_restarts_slow_down_and_have_a_limit():
    """The first is at once, a crash loop does not spin."""
    delays = [restart_delay_s(deaths) for deaths in range(1, 12)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.1, 10.0)


def test_a_tool_that_fails_says_why():
    """Its output is in the error."""
    with pytest.raises(StackFailed, match="it is full"):
        run_tool((sys.executable, "-c", "raise SystemExit('it is full')"), timeout_s=10)


def test_a_tool_that_hangs_is_ended():
    """After its time."""
    with pytest.raises(StackFailed, match="longer than"):
        run_tool((sys.executable, "-c", SLEEPS), timeout_s=0.5)


def _has_no_process_to_spare(_launch):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


async def _refuses():
    raise ConnectionError("not yet")


def _members(group):
    members = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and created_at(int(entry.name)):
            try:
                if os.getpgid(int(entry.name)) == group and "Z" not in (entry / "stat").read_text().rsplit(")")[1][:3]:
                    members.add(int(entry.name))
            except (ProcessLookupError, FileNotFoundError):
                continue
    return members
