"""Runs: from gathered rows to a published checkpoint. A run is named by everything that shapes its result, so it is done once."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from headrace.adapters.checkpoints.store import CheckpointDetails, CheckpointStore
from headrace.client import Gathered
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, TrainingData
from headrace.core.fine_tuning import (
    HELD_OUT_FILE,
    RUN_FILE,
    STATE_FOLDER,
    TRAIN_FILE,
    WEIGHTS_FOLDER,
    FineTuningRun,
    Hyperparameters,
    Outcome,
)
from headrace.core.ports.object_store import ObjectStore
from headrace.core.versions import canonical_json
from services.trainer.model_side import CannotTrain, Show, fine_tune

_PUBLISHED_FILE = "published"

Announce = Callable[[CheckpointPublished], Awaitable[bool]]
"""Tells everyone of a checkpoint, unless that was done before."""


class NothingToTrain(CannotTrain):
    """No accepted sample is left once those are set apart that are held out."""


@dataclass(frozen=True, slots=True)
class Base:
    """The weights that training begins from, and their SHA-256."""

    folder: Path
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains `model` from `base`; `folder` keeps the runs, `python` is the model environment's."""

    model: str
    base: Base
    hyperparameters: Hyperparameters
    folder: Path
    python: Path
    objects: ObjectStore
    announce: Announce
    device: str = "auto"
    threads: int = 0
    save_every_steps: int = 8
    held_out_rows_max: int = 32

    async def train(self, gathered: Gathered, data: TrainingData, show: Show) -> CheckpointPublished:
        """Trains on what was gathered, which is `data`, and publishes the checkpoint; what was done before is not done again.

        Raises:
            CannotTrain: nothing was gathered that is not held out, or the model's side failed.
            Stop, BrokerUnreachable: store or broker cannot be reached; called again, it goes on from there.
        """
        run_id = self.run_id(data)
        folder = self.folder / run_id
        if (folder / _PUBLISHED_FILE).is_file():
            published = await CheckpointStore(self.objects).find(self.model, (folder / _PUBLISHED_FILE).read_text())
            await self.announce(published)
            return published
        if not (folder / RUN_FILE).is_file():
            await asyncio.to_thread(self._prepare, folder, gathered, data)
        outcome = await fine_tune(folder, self.python, show)
        counted = replace(data, rows_trained=outcome.rows_trained, rows_held_out=gathered.counts(data.held_out_share)[1])
        published = await self._publish(folder, run_id, counted, outcome)
        await asyncio.to_thread(_tidy, folder, published)
        return published

    def run_id(self, data: TrainingData) -> str:
        """Equal for equal data, hyper-parameters, model and base."""
        shaping = {
            "data": asdict(data),
            "hyperparameters": self.hyperparameters.model_dump(mode="json"),
            "model": self.model,
            "base": self.base.sha256,
        }
        return hashlib.sha256(canonical_json(shaping)).hexdigest()[:16]

    def _prepare(self, folder: Path, gathered: Gathered, data: TrainingData) -> None:
        """The run's folder; `run.json` comes last, so what is there is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        share = data.held_out_share
        rows = _write_rows(folder / TRAIN_FILE, gathered.trained(share, self.hyperparameters.rows_max))
        if not rows:
            raise NothingToTrain(f"dataset {data.dataset_id}: no accepted sample that is not held out")
        _write_rows(folder / HELD_OUT_FILE, gathered.held_out(share, self.held_out_rows_max))
        run = FineTuningRun.model_validate(
            {
                "base": str(self.base.folder),
                "base_name": self.base.name,
                "hyperparameters": self.hyperparameters,
                "save_every_steps": self.save_every_steps,
                "device": self.device,
                "threads": self.threads,
            }
        )
        unfinished = folder / f".{RUN_FILE}"
        unfinished.write_text(run.model_dump_json())
        unfinished.replace(folder / RUN_FILE)

    async def _publish(self, folder: Path, run_id: str, data: TrainingData, outcome: Outcome) -> CheckpointPublished:
        metrics = {
            **outcome.metrics,
            "rows_unreadable": float(outcome.rows_unreadable),
            "rows_measured": float(outcome.rows_held_out),
        }
        details = CheckpointDetails(
            model=self.model,
            kind=CheckpointKind.FULL if self.hyperparameters.full else CheckpointKind.ADAPTER,
            base_model=self.base.name,
            base_sha256=self.base.sha256,
            data=data,
            hyperparameters=self.hyperparameters.model_dump(mode="json"),
            metrics=metrics,
            run_id=run_id,
        )
        published = await CheckpointStore(self.objects).publish(folder / WEIGHTS_FOLDER, details)
        await self.announce(published)
        return published


def _write_rows(path: Path, rows: Iterable[tuple[str, int, str]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for sample_id, revision, conversation in rows:
            file.write(json.dumps({"id": sample_id, "revision": revision} | json.loads(conversation)) + "\n")
            count += 1
    return count


def _tidy(folder: Path, published: CheckpointPublished) -> None:
    """Weights and rows lie in the object store now; what remains says what was done."""
    (folder / _PUBLISHED_FILE).write_text(published.checkpoint_id)
    for name in (STATE_FOLDER, WEIGHTS_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (TRAIN_FILE, HELD_OUT_FILE):
        (folder / name).unlink(missing_ok=True)
