"""Workers in this process: the same tasks without the processes, and failures on demand."""

import asyncio
from collections.abc import Mapping
from typing import Any

from headrace.checks import LimitReached, WorkerLost, WorkersGone, _constraints_task, _exact_task, _math_task, _schema_task

_TASKS = {
    "constraints": _constraints_task.work,
    "exact": _exact_task.work,
    "math": _math_task.work,
    "schema": _schema_task.work,
}


class FakeWorkers:
    """Runs tasks at once. A response or document with one of the words below ends the way the word says.

    `stalled` is how many are under way that never end by themselves.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.stalled = 0

    async def run(self, task: str, request: Mapping[str, Any], cpu_s_max: float) -> Mapping[str, Any]:
        self.runs += 1
        text = str(request)
        if "RUNAWAY" in text:
            raise LimitReached(f"takes more than {cpu_s_max:g} s of processor time (cpu_s_max)")
        if "LOST" in text:
            raise WorkerLost("the worker ended with status -9")
        if "GONE" in text:
            raise WorkersGone("no worker for the checks could be started")
        if "STALLED" in text:
            self.stalled += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.stalled -= 1
        return _TASKS[task](request)
