"""Processes by number, without mistaking a newcomer for one that is gone."""

import os
import signal
from collections import defaultdict

import psutil

from headrace.local.launch import signal_group
from headrace.local.state import HOME, StackState

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

    A group whose leader is another process than was recorded is a stranger's. Where the leader is gone its number tells
    nothing, as numbers begin anew with each boot or container: the group is ours if a member has the state folder of this stack
    in its environment (HEADRACE_HOME), which every part inherits.
    """
    groups: defaultdict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        groups[_group(process.pid)].append(process)
    home = state.environment.get(HOME, "")
    killed = []
    for name, part in state.processes.items():
        members = groups.get(part.pid, []) if part.pid > 1 else []
        is_leaderless = created_at(part.pid) == 0.0
        if members and (is_same(part.pid, part.created) or (is_leaderless and any(_is_of(home, member) for member in members))):
            signal_group(part.pid, signal.SIGKILL)
            killed.append(name)
    return killed


def _is_of(home: str, process: psutil.Process) -> bool:
    try:
        return bool(home) and process.environ().get(HOME) == home
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
