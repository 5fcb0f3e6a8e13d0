"""A supervisor of one small process, on a disk that is full at times."""

import asyncio
import errno
import logging
import os
import signal

import pytest

from headrace.local.processes import created_at
from headrace.local.stack import Plan
from headrace.local.state import StackState, read_state, write_state
from headrace.local.supervisor import Supervisor
from tests.fakes.script import SLEEPS, Script, until

WRITE = "headrace.local.supervisor.write_state"


def _is_full(_home, _state):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_parts_are_kept_and_stopped_while_the_state_cannot_be_written(tmp_path, monkeypatch, caplog):
    """It is told once, and with the first change after that the state is there again."""
    supervisor, stop = Supervisor(tmp_path, Plan((Script(SLEEPS),), {}), StackState()), asyncio.Event()
    running = asyncio.create_task(supervisor.run(stop))
    script = supervisor.keepers["script"].state
    await until(lambda: read_state(tmp_path).phase == "up")

    monkeypatch.setattr(WRITE, _is_full)
    first = script.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: script.state == "up" and script.pid not in {0, first})
    assert read_state(tmp_path).processes["script"].pid == first
    assert [record.levelno for record in caplog.records if "No space left" in record.getMessage()] == [logging.ERROR]

    monkeypatch.setattr(WRITE, write_state)
    second = script.pid
    os.kill(second, signal.SIGKILL)
    await until(lambda: read_state(tmp_path).processes["script"].pid not in {0, first, second})

    monkeypatch.setattr(WRITE, _is_full)
    third = script.pid
    stop.set()
    await running
    assert created_at(third) == 0.0
    assert script.state == "stopped"


async def test_nothing_is_started_where_the_state_can_not_be_written_at_first(tmp_path, monkeypatch):
    """Whoever asked for the stack is told, and nothing is left that nobody would find."""
    monkeypatch.setattr(WRITE, _is_full)
    script = Script(SLEEPS)
    with pytest.raises(OSError, match="No space left"):
        await Supervisor(tmp_path, Plan((script,), {}), StackState()).run(asyncio.Event())
    assert script.prepared == []
