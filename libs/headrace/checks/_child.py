"""The child process that runs work which may run away: `python -m headrace.checks._child MEMORY_BYTES JOBS TASK...`.

It imports its tasks once and then forks: the fork serves requests and may be killed by its limits, or by anybody, at any time;
the process that did the imports sees how it ended, says so, and forks again in milliseconds. Both end when the parent closes
their input, and so when the parent dies. A request is two lines, the job's number and what is to be done as JSON; what is said is
one JSON line with the number of the job that it is about.
"""

import importlib
import json
import mmap
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

ENDED = 3
"""Exit status of a fork whose input was closed."""
RECYCLED = 4
"""Exit status of a fork that has done its share of jobs, or whose memory may be in disorder."""

_DENIED = frozenset({
    "ctypes.dlopen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system",
    "socket.__new__", "subprocess.Popen",
})  # fmt: skip

_ERROR_CHARS_MAX = 500
_NO_JOB = 0
"""No job's number: they count from 1."""
_UNREAD = -1
"""Stands for a job that is being taken: some of its request may be read and lost."""

Task = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class _Replies:
    """Where replies go, and the number of the job they are about: in memory shared with the forks, so that it outlives them."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._job = mmap.mmap(-1, 8)

    def about(self, job: int) -> None:
        """What is said from now on is about this job."""
        self._job[:] = job.to_bytes(8, "little", signed=True)

    def say(self, said: dict[str, Any]) -> None:
        job = int.from_bytes(self._job[:], "little", signed=True)
        line = json.dumps({"job": job, **said}).encode() + b"\n"
        while line:
            line = line[os.write(self._file, line) :]


def main(arguments: list[str]) -> None:
    """Serve until the input is closed."""
    replies = _Replies(os.dup(1))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not look like a reply
    memory_bytes_max, jobs_max = int(arguments[0]), int(arguments[1])
    try:
        tasks = {name: _task(name) for name in arguments[2:]}
    except ModuleNotFoundError as error:
        replies.say({"missing": error.name})
        return
    _limit(memory_bytes_max)
    replies.say({"ready": True})
    while (exit_status := _end_of_fork(replies, tasks, jobs_max)) != ENDED:
        if exit_status != RECYCLED:
            replies.say({"died": exit_status})
        replies.about(_NO_JOB)


def _task(name: str) -> Task:
    module = importlib.import_module(f"headrace.checks._{name}_task")
    module.warm()  # what it compiles and caches now, no fork has to
    task: Task = module.work
    return task


def _limit(memory_bytes_max: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _end_of_fork(replies: _Replies, tasks: Mapping[str, Task], jobs_max: int) -> int:
    fork = os.fork()
    if fork == 0:
        os._exit(_serve(replies, tasks, jobs_max))
    _, status = os.waitpid(fork, 0)
    return os.waitstatus_to_exitcode(status)


def _serve(replies: _Replies, tasks: Mapping[str, Task], jobs_max: int) -> int:
    sys.addaudithook(_deny)
    sys.excepthook = partial(_confess, replies)
    requests = os.fdopen(0, "rb", closefd=False)  # of this fork: what a killed one had buffered is not read twice
    for _ in range(jobs_max):
        select.select([requests], [], [])  # one that is killed while it waits has taken nothing
        replies.about(_UNREAD)
        try:
            replies.about(int(requests.readline() or _NO_JOB))
            line = requests.readline()
        except MemoryError:  # what is left of the line would be taken for the next request
            return ENDED
        if not line:
            return ENDED
        try:
            reply = _run(tasks, json.loads(line))
        except MemoryError:
            replies.say({"memory": True})
            return RECYCLED
        replies.say(reply)
        replies.about(_NO_JOB)
    return RECYCLED


def _run(tasks: Mapping[str, Task], request: dict[str, Any]) -> dict[str, Any]:
    # Not RLIMIT_CPU, which counts whole seconds of the process's life. SIGPROF's default action kills at once, also inside C
    # code that would never look at a Python signal handler.
    signal.setitimer(signal.ITIMER_PROF, request["cpu_s_max"])
    try:
        return {"reply": tasks[request["task"]](request["request"])}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _confess(replies: _Replies, kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """Whatever a task raises is told, and is the end of this fork."""
    replies.say({"error": f"{kind.__name__}: {error}"[:_ERROR_CHARS_MAX]})
    os._exit(RECYCLED)


def _deny(event: str, _: tuple[Any, ...]) -> None:
    """Not a sandbox, which mathematics does not need: a second lock on what a parser of untrusted text never does."""
    if event in _DENIED:
        raise PermissionError(event)


if __name__ == "__main__":
    main(sys.argv[1:])
