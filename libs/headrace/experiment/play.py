"""The experiments, step by step, and the file with all their numbers."""

import asyncio
import json
import math
import platform
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headrace.checks import PoolLimits, WorkerPool
from headrace.core.policies import Policy
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.samples import Sample
from headrace.experiment.base_rows import BaseRows, base_rows
from headrace.experiment.controls import compare
from headrace.experiment.estimate import controls_s, planted_s
from headrace.experiment.mending import Mender
from headrace.experiment.model_side import ModelSide
from headrace.experiment.planting import plant
from headrace.experiment.settings import Setup
from headrace.experiment.telling import Tell
from headrace.experiment.writing import Endpoints, endpoints_for, opened_writer
from headrace.lm.weights import weights_sha256
from headrace.local.checkout import model_python
from headrace.local.signals import WEIGHTS, default_weights
from headrace.local.state import home_folder

RESULT_FILE = "experiment.json"


def open_folder(named: Path | None) -> Path:
    """The folder to work in, made where it is not there: the one that was named, or a new one among the experiments here.

    Raises:
        ValueError: the named one holds an experiment already.
    """
    if named is None:
        parent = home_folder() / "experiments"
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
    named.mkdir(parents=True, exist_ok=True)
    if any(named.iterdir()):
        raise ValueError(f"{named} is not empty: name another folder")
    return named.absolute()


def play(setup: Setup, folder: Path, tell: Tell, *, controls: bool) -> Path:
    """Runs the experiments in the folder and returns the file with their numbers; without `controls` the first alone.

    Raises:
        ValueError: the setup cannot be met.
        ModelSideFailed: the model's side failed.
        StackFailed: model environment or chat endpoint are missing.
        Stop: the chat endpoint is gone.
    """
    if not controls:
        return asyncio.run(_play(setup, folder, tell, None))
    with endpoints_for(folder / "endpoint") as endpoints:
        return asyncio.run(_play(setup, folder, tell, endpoints))


async def _play(setup: Setup, folder: Path, tell: Tell, endpoints: Endpoints | None) -> Path:
    chosen = base_rows(rows=setup.rows, held_out=setup.held_out, chars_max=setup.chars_max, seed=setup.seed)
    base = await asyncio.to_thread(default_weights, tell.detail) if setup.model is None else setup.model.absolute()
    base_name = WEIGHTS if setup.model is None else base.name
    side = ModelSide(model_python(), base, base_name, setup.tokens_max, setup.device, tell)
    policy = Policy(rounds=RoundPolicy(attempts_max=setup.attempts))
    result = {
        "setup": _plain(asdict(setup)),
        "policy": json.loads(policy.canonical_json()),
        "model": _model(base_name, base),
        "versions": _versions(),
        "rows": _told(chosen),
    }
    path = folder / RESULT_FILE
    _foretell(setup, chosen, tell, controls=endpoints is not None)
    planted = await plant(setup, chosen.clean, side, folder, tell)
    result["planted"] = planted.figures
    _write(path, result, tell)
    if endpoints is not None:
        async with (
            opened_writer(endpoints, policy, setup.reply_tokens_max) as writer,
            WorkerPool(PoolLimits(workers=1)) as workers,
        ):
            mender = Mender(planted, side, writer, policy, folder, workers)
            result["controls"] = await compare(setup, planted, chosen.held_out, mender, side, folder, tell)
            result["writer"] = writer.model
        _write(path, result, tell)
    return path


def _foretell(setup: Setup, chosen: BaseRows, tell: Tell, *, controls: bool) -> None:
    seconds = planted_s(setup, chosen.clean) + (controls_s(setup, chosen.clean, chosen.held_out) if controls else 0.0)
    tell.step(f"about {math.ceil(seconds / 60)} minutes on two idle cores with the default model; a GPU takes a fraction")


def _model(name: str, folder: Path) -> dict[str, str]:
    return {"name": name, "sha256": weights_sha256(folder)}


def _versions() -> dict[str, str]:
    return {"headrace": version("headrace"), "champ-dataset": version("champ-dataset"), "python": platform.python_version()}


def _told(chosen: BaseRows) -> dict[str, Any]:
    return {"clean": _ids(chosen.clean), "held_out": _ids(chosen.held_out)}


def _ids(samples: tuple[Sample, ...]) -> list[str]:
    return [sample.id for sample in samples]


def _write(path: Path, result: dict[str, Any], tell: Tell) -> None:
    result["seconds"] = round(tell.elapsed_s, 1)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(json.dumps(_plain(result), indent=1, allow_nan=False) + "\n")
    unfinished.replace(path)


def _plain(value: Any) -> Any:
    """As JSON takes it: a number that is not finite is none."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
