"""The model's side as processes of its own: they read and write files, and end when we do."""

import asyncio
import importlib
import json
import shutil
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from headrace.core.fine_tuning import (
    HELD_OUT_FILE,
    RUN_FILE,
    STATE_FOLDER,
    TRAIN_FILE,
    WEIGHTS_FOLDER,
    FineTuningRun,
    Hyperparameters,
    Outcome,
    draw_of,
)
from headrace.core.measuring import (
    CONVERSATIONS,
    ERROR,
    JUDGE_ERROR,
    LENGTHS,
    LOSS,
    MEASURE_FILE,
    PROMPTS,
    SCORES,
    TRUNCATED,
    VERSIONS_FILE,
    MeasuringProgress,
    MeasuringRun,
    MeasuringTask,
)
from headrace.core.samples import Sample
from headrace.experiment.telling import Tell
from headrace.local.checkout import checkout
from headrace.local.launch import tail, tethered

Floats = npt.NDArray[np.float64]

_LOG_FILE = "log"
_TORCH_S_MAX = 120.0
"""Longest time for torch to be imported; a cold disk takes a while."""


class ModelSideFailed(RuntimeError):
    """A process of the model's side ended without a result; the message is the end of its log."""


def require_device(device: Literal["auto", "cpu", "cuda"], python: Path) -> None:
    """See that the model's side has the device, before minutes are spent.

    Raises:
        ModelSideFailed: it is a GPU, and torch sees none.
    """
    if device != "cuda":
        return
    asked = subprocess.run(  # noqa: S603 - our own interpreter
        [python, "-c", "import torch; print(torch.cuda.is_available())"],
        capture_output=True, text=True, timeout=_TORCH_S_MAX, check=False,
    )  # fmt: skip
    if asked.stdout.strip() != "True":
        said = asked.stderr.strip().rpartition("\n")[2]
        raise ModelSideFailed(
            f"--device cuda: torch in {python} sees no GPU{f' ({said})' if said else ''}; leave --device at auto"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model says of some conversations, a row for each in order; see `headrace.core.measuring`."""

    loss: Floats
    scores: Floats
    prompts: npt.NDArray[np.float32]
    conversations: npt.NDArray[np.float32]
    errors: tuple[str, ...]
    judge_errors: tuple[str, ...]
    lengths: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]

    @property
    def quality(self) -> Floats:
        """The mean of the six scores, 0 to 10; NaN where one was not made."""
        mean: Floats = self.scores.mean(axis=1)
        return mean


@dataclass(frozen=True, slots=True)
class Ask:
    """Rows to measure under one model: the base where `weights` is None. `judged` asks for quality too."""

    name: str
    samples: Sequence[Sample]
    weights: Path | None = None
    judged: bool = False


@dataclass(frozen=True, slots=True)
class ModelSide:
    """Where weights and interpreter are, and how conversations are cut."""

    python: Path
    base: Path
    base_name: str
    tokens_max: int
    device: Literal["auto", "cpu", "cuda"]
    tell: Tell

    async def measure(self, folder: Path, asks: Sequence[Ask]) -> dict[str, Measured]:
        """What the models say, by the name of what was asked; each model is loaded once if its asks stand together.

        Raises:
            ModelSideFailed: the process failed.
        """
        run = self._measuring_run(folder, asks)
        done_before = dict(
            zip((ask.name for ask in asks), accumulate((len(ask.samples) for ask in asks), initial=0), strict=False)
        )
        total = sum(len(ask.samples) for ask in asks)

        def show(line: bytes) -> None:
            progress = MeasuringProgress.model_validate_json(line)
            self.tell.progress(f"measuring {progress.task}", done_before[progress.task] + progress.rows_done, total)

        await self._process(("-m", "headrace.lm.measuring", str(folder)), folder, show)
        return {task.name: _read(folder / task.result_file) for task in run.tasks}

    async def train(self, folder: Path, samples: Sequence[Sample], chosen: Hyperparameters) -> Path:
        """Trains from the base on as many of the rows as the steps can take, and returns the folder of the weights.

        Which rows, and in which order they stand, follows from their ids and the seed alone: two data sets that share rows take
        them alike. Nothing is held out here.

        Raises:
            ModelSideFailed: training failed.
        """
        training = importlib.import_module("services.trainer.model_side")  # the trainer is no part of the wheel
        self._prepare_training(folder, samples, chosen)
        try:
            outcome: Outcome = await training.fine_tune(folder, self.python, lambda _: None)
        except training.CannotTrain as error:
            raise ModelSideFailed(str(error)) from error
        self.tell.detail(f"trained {folder.name}: {outcome.rows_trained} rows, loss {outcome.metrics['train_loss']:.3f}")
        shutil.rmtree(folder / STATE_FOLDER)
        return folder / WEIGHTS_FOLDER

    def _measuring_run(self, folder: Path, asks: Sequence[Ask]) -> MeasuringRun:
        """Writes the folder of a measurement."""
        folder.mkdir(parents=True, exist_ok=True)
        for ask in asks:
            _write_rows(folder / f"{ask.name}.jsonl", ask.samples)
        tasks = tuple(
            MeasuringTask(name=ask.name, rows_file=f"{ask.name}.jsonl", weights=str(ask.weights or ""), judged=ask.judged)
            for ask in asks
        )
        run = MeasuringRun(base=str(self.base), tasks=tasks, tokens_max=self.tokens_max, device=self.device)
        (folder / MEASURE_FILE).write_text(run.model_dump_json())
        return run

    def _prepare_training(self, folder: Path, samples: Sequence[Sample], chosen: Hyperparameters) -> None:
        """Writes the folder of a training."""
        folder.mkdir(parents=True, exist_ok=True)
        ordered = sorted(samples, key=lambda sample: draw_of(sample.id, str(chosen.seed)))
        _write_rows(folder / TRAIN_FILE, ordered[: chosen.rows_max])
        _write_rows(folder / HELD_OUT_FILE, [])
        run = FineTuningRun(
            base=str(self.base),
            base_name=self.base_name,
            hyperparameters=chosen,
            save_every_steps=chosen.steps,  # a run is short, and made anew after a kill
            device=self.device,
        )
        (folder / RUN_FILE).write_text(run.model_dump_json())

    async def _process(self, arguments: tuple[str, ...], folder: Path, show: Callable[[bytes], None]) -> None:
        log = folder / _LOG_FILE
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *tethered((str(self.python), *arguments), signal.SIGKILL),
                stdin=DEVNULL, stdout=PIPE, stderr=errors, cwd=checkout() / "libs",  # where our package is found
            )  # fmt: skip
        try:
            if process.stdout is None:
                raise RuntimeError("the process was started without a pipe")
            async for line in process.stdout:
                try:
                    show(line)
                except ValidationError:  # what a library prints
                    continue
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ModelSideFailed(f"{' '.join(arguments)} failed:\n{tail(log)}")


def measured_with(folder: Path) -> dict[str, str]:
    """Versions of packages, and the device, of a measurement in that folder."""
    told: dict[str, str] = json.loads((folder / VERSIONS_FILE).read_text())
    return told


def conversation_of(sample: Sample) -> dict[str, object]:
    """The sample as the model's side reads it."""
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.messages]
    return {"id": sample.id, "revision": sample.revision, "messages": turns, "tools": None}


def _write_rows(path: Path, samples: Sequence[Sample]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(conversation_of(sample)) + "\n" for sample in samples)


def _read(path: Path) -> Measured:
    with np.load(path) as found:
        return Measured(
            loss=found[LOSS],
            scores=found[SCORES],
            prompts=found[PROMPTS],
            conversations=found[CONVERSATIONS],
            errors=tuple(map(str, found[ERROR])),
            judge_errors=tuple(map(str, found[JUDGE_ERROR])),
            lengths=found[LENGTHS],
            truncated=found[TRUNCATED],
        )
