"""The process that trains: it lives in the model's environment, and ends when we do."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

import headrace
from headrace.core.fine_tuning import OUTCOME_FILE, Outcome, Progress
from headrace.local.launch import tail, tethered

LOG_FILE = "log"
_LINE_BYTES_MAX = 1024 * 1024

Show = Callable[[Progress], None]


class CannotTrain(Exception):
    """There will be no checkpoint, for the reason given; where the model's side failed, that is the end of its log."""


async def fine_tune(folder: Path, python: Path, show: Show) -> Outcome:
    """Does the run in the folder, or what is left of it, and says what came of it.

    Raises:
        CannotTrain: it ended without a result.
    """
    outcome = folder / OUTCOME_FILE
    if not outcome.is_file():
        command = tethered((str(python), "-m", "headrace.lm.fine_tuning", str(folder)), signal.SIGKILL)
        libs = Path(headrace.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(libs)}
        with (folder / LOG_FILE).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=PIPE, stderr=log, env=environment, limit=_LINE_BYTES_MAX
            )
        try:
            await _watch(process, show)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if not outcome.is_file():
        raise CannotTrain(f"training in {folder} failed:\n{tail(folder / LOG_FILE)}")
    return Outcome.model_validate_json(outcome.read_bytes())


async def _watch(process: Process, show: Show) -> None:
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    async for line in process.stdout:
        try:
            show(Progress.model_validate_json(line))
        except ValidationError:  # what a library prints
            continue
    await process.wait()
