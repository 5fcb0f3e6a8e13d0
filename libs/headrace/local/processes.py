"""Processes by number, without mistaking a newcomer for one that is gone."""

import os
import signal

import psutil

from headrace.local.launch import signal_group
from headrace.local.state import StackState

_SAME_S = 0.05
"""Start times are exact to a clock tick; two processes with one number are further apart."""


def created_at(pid: int) -> float:
    """When the process started, in seconds since the epoch; 0 if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def is_same(pid: int, created: float) -> bool:
    """Whether the process that was recorded is alive."""
    return pid > 0 and abs(created_at(pid) - created) < _SAME_S


def kill_recorded(state: StackState) -> list[str]:
    """Kills what a supervisor that died left behind, children included; returns the names of the parts that were alive.

    The kernel gives a group's number to nobody else while the group has a member, so a group whose leader is gone is still
    the one that was recorded; one whose leader is another process is not.
    """
    groups = {_group(process.pid) for process in psutil.process_iter()}
    killed = []
    for name, process in state.processes.items():
        if (
            process.pid > 1
            and process.pid in groups
            and (is_same(process.pid, process.created) or created_at(process.pid) == 0.0)
        ):
            signal_group(process.pid, signal.SIGKILL)
            killed.append(name)
    return killed


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
