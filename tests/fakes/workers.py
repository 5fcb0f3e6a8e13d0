"""Workers in this process: the same tasks without the processes, and failures on demand."""

from collections.abc import Mapping
from typing import Any

from headrace.checks import LimitReached, WorkerLost, WorkersGone
from headrace.checks._math_task import work as compare
from headrace.checks._schema_task import work as validate

_TASKS = {"math": compare, "schema": validate}


class FakeWorkers:
    """Runs tasks at once. A response or document with one of the words below ends the way the word says."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, task: str, request: Mapping[str, Any], cpu_s_max: float) -> Mapping[str, Any]:
        self.runs += 1
        text = str(request)
        if "RUNAWAY" in text:
            raise LimitReached(f"takes more than {cpu_s_max:g} s of processor time (cpu_s_max)")
        if "LOST" in text:
            raise WorkerLost("the worker ended with status -9")
        if "GONE" in text:
            raise WorkersGone("no worker for the checks could be started")
        return _TASKS[task](request)
