"""A pool of processes that can be killed, for work on untrusted text that may run away."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from headrace.checks._contract import LimitReached, WorkerLost, WorkersGone

TASKS = ("constraints", "exact", "math", "schema")
"""What a worker can do: each is a module `headrace.checks._<task>_task` with the functions
`warm` and `work`."""

_STARTS_FAILED_MAX = 3
_REPLY_BYTES_MAX = 64 * 1024
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT")

_log = logging.getLogger("headrace.checks")


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many workers, and how much each may take.

    `stall_s_max` is how long a job may take by the wall clock beyond its processor time before its worker counts as stalled;
    `jobs_max` how many jobs one process does before a fresh one takes its place.
    """

    workers: int = 2
    memory_bytes_max: int = 1024 * 1024 * 1024
    stall_s_max: float = 30.0
    start_s_max: float = 60.0
    restart_s: float = 1.0
    jobs_max: int = 1_000


@dataclass(slots=True)
class _Job:
    line: bytes
    cpu_s_max: float
    reply: "asyncio.Future[Mapping[str, Any]]"


class WorkerPool:
    """The workers behind `Workers`: `async with WorkerPool(limits) as workers`.

    Each worker is a process group of its own that knows nothing of this process's environment. A worker that dies, stalls, says
    too much or does not speak of its job is replaced; its job fails with an error that says whether the job was to blame. Whoever
    stops waiting for a reply has the worker killed, and replaced, too.
    """

    def __init__(self, limits: PoolLimits, tasks: tuple[str, ...] = TASKS) -> None:
        self._limits = limits
        self._tasks = tasks
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._ready = 0
        self._starts_failed = 0
        self._gone = ""
        self._started = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._endings: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._loops = [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]
        try:
            await self._started.wait()
        except BaseException:  # asked to stop before a worker was there: nobody leaves what was never entered
            await self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._close()

    async def _close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*self._endings)
        self._turn_away("the service is stopping")

    async def run(self, task: str, request: Mapping[str, Any], cpu_s_max: float) -> Mapping[str, Any]:
        """See `Workers.run`. Jobs wait in line until a worker is free; callers bound how many they send."""
        await self.ping()
        line = json.dumps({"task": task, "request": request, "cpu_s_max": cpu_s_max}).encode() + b"\n"
        job = _Job(line, cpu_s_max, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return await job.reply

    async def ping(self) -> None:
        """Returns when there are workers, or may soon be.

        Raises:
            WorkersGone: none runs and none could be started.
        """
        if self._gone:
            raise WorkersGone(self._gone)

    async def _work(self) -> None:
        """One worker's life: start, serve jobs until it is lost, start again."""
        while True:
            try:
                child = await _Child.spawn(self._limits, self._tasks)
                try:
                    await child.ready()
                    await self._serve(child)
                finally:
                    self._end(child)
            except (OSError, WorkersGone) as error:
                self._start_failed(str(error))
                await asyncio.sleep(self._limits.restart_s)

    async def _serve(self, child: "_Child") -> None:
        """Give the child one job after another; returns when it can do no more."""
        self._ready, self._starts_failed, self._gone = self._ready + 1, 0, ""
        self._started.set()
        try:
            while not child.is_spent:
                await self._serve_one(child)
        finally:
            self._ready -= 1

    async def _serve_one(self, child: "_Child") -> None:
        job = await self._jobs.get()
        if job.reply.done():  # whoever asked has gone away
            return
        job.reply.add_done_callback(child.abandon)
        try:
            reply = await child.ask(job)
        except LimitReached as error:
            _fail(job, error)
        except WorkerLost as error:
            _log.warning("a check's worker was lost: %s", "nobody waits any more" if job.reply.cancelled() else error)
            _fail(job, error)
        except asyncio.CancelledError:
            _fail(job, WorkersGone("the service is stopping"))
            raise
        else:
            if not job.reply.done():
                job.reply.set_result(reply)

    def _end(self, child: "_Child") -> None:
        """In a task of its own: who is cancelled while it waits would leave the pipes open."""
        ending = asyncio.create_task(child.kill())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    def _start_failed(self, error: str) -> None:
        self._starts_failed += 1
        _log.error("a check's worker did not start: %s", error)
        if self._ready == 0 and self._starts_failed >= _STARTS_FAILED_MAX:
            self._gone = f"no worker for the checks could be started: {error}"
            self._turn_away(self._gone)
            self._started.set()

    def _turn_away(self, why: str) -> None:
        while not self._jobs.empty():
            _fail(self._jobs.get_nowait(), WorkersGone(why))


def _fail(job: _Job, error: Exception) -> None:
    if not job.reply.done():
        job.reply.set_exception(error)


class _Child:
    """One worker process and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process, limits: PoolLimits) -> None:
        self._process = process
        self._limits = limits
        self._asked = 0
        self.is_spent = False
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a worker is started with pipes")
        self._requests, self._replies = process.stdin, process.stdout

    @classmethod
    async def spawn(cls, limits: PoolLimits, tasks: tuple[str, ...]) -> "_Child":
        """A process that has begun to import its tasks."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "headrace.checks._child", str(limits.memory_bytes_max), str(limits.jobs_max), *tasks,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True, limit=_REPLY_BYTES_MAX, env=_environment(),
        )  # fmt: skip
        return cls(process, limits)

    async def ready(self) -> None:
        """Returns once the tasks are imported; raises WorkersGone when they cannot be."""
        try:
            said = await self._hear(self._asked, self._limits.start_s_max)
        except WorkerLost as error:
            raise WorkersGone(str(error)) from error
        if "missing" in said:
            raise WorkersGone(f"{said['missing']} is missing: install headrace[validation]")

    async def ask(self, job: _Job) -> Mapping[str, Any]:
        """The child's reply to one job. A lost worker may have a successor in the same process; `is_spent` says if not."""
        self._asked += 1
        try:
            self._requests.write(b"%d\n%b" % (self._asked, job.line))
            await self._requests.drain()
        except OSError as error:
            self.is_spent = True
            raise WorkerLost(f"the worker does not take work: {error}") from error
        said = await self._hear(self._asked, job.cpu_s_max + self._limits.stall_s_max)
        if "memory" in said:
            raise LimitReached(f"needs more memory than the {self._limits.memory_bytes_max >> 20} MiB of a worker")
        if said.get("died") == -signal.SIGPROF:
            raise LimitReached(f"takes more than {job.cpu_s_max:g} s of processor time (cpu_s_max)")
        if "error" in said:
            raise WorkerLost(f"the worker failed: {said['error']}")
        if "died" in said:
            raise WorkerLost(f"the worker ended with status {said['died']}")
        reply = said.get("reply")
        if not isinstance(reply, dict):
            self.is_spent = True
            raise WorkerLost("the worker said what is no reply")
        return reply

    def abandon(self, reply: "asyncio.Future[Mapping[str, Any]]") -> None:
        """Where nobody waits for the reply any more, the work ends at once, and this worker with it."""
        if reply.cancelled():
            self.is_spent = True
            self._kill()

    async def kill(self) -> None:
        """End the process and everything it started, and wait until it is gone."""
        self._kill()
        with contextlib.suppress(OSError):
            await self._process.communicate()  # to the end of its output: wait() alone leaves the pipes open

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _hear(self, job: int, seconds_max: float) -> dict[str, Any]:
        """What the child says of this job, 0: of itself. That a fork died before it took the job is none: the next takes it."""
        try:
            async with asyncio.timeout(seconds_max):
                while "died" in (said := await self._said()) and 0 <= said["job"] < job:
                    _log.warning("a check's worker ended with status %s while it had nothing to do", said["died"])
        except TimeoutError as error:
            self.is_spent = True
            raise WorkerLost(f"the worker said nothing for {seconds_max:g} s") from error
        except ValueError as error:  # too long a line, or what is left of one
            self.is_spent = True
            raise WorkerLost("the worker ended before its reply did, or said too much") from error
        if said["job"] != job:
            self.is_spent = True
            raise WorkerLost(f"the worker spoke of another job than {job}: {str(said)[:100]}")
        return said

    async def _said(self) -> dict[str, Any]:
        said = json.loads(await self._replies.readline())
        if not isinstance(said, dict) or not isinstance(said.get("job"), int):
            self.is_spent = True
            raise WorkerLost("the worker said what is no reply")
        return said


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    # The fixed hash seed makes the order of sympy's sets, and with it every outcome, the same in each worker.
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONHASHSEED": "0"}
