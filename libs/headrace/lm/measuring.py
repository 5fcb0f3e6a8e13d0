"""Measures conversations in files, without a server: `python -m headrace.lm.measuring FOLDER`.

What the folder holds, and what the lines on standard output say, is in `headrace.core.measuring`.
"""

import gc
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights are here; a hub has nothing to say
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")  # lines, not bars: this is read in logs

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from headrace.core.dossiers import JUDGED
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
from headrace.core.rounds.surveys import Judge
from headrace.lm.conversations import conversations_in
from headrace.lm.judge import Judged
from headrace.lm.judges import JudgeLimits
from headrace.lm.signals import Limits, Measurement, SignalMeter

_ROWS = 16
"""Conversations measured at a time: so often progress is told."""


def measure(folder: Path) -> None:
    """Does every task that has no result yet.

    Raises:
        ValueError: the model cannot be measured here.
    """
    run = MeasuringRun.model_validate_json((folder / MEASURE_FILE).read_bytes())
    (folder / VERSIONS_FILE).write_text(json.dumps(_versions(run.device)))
    loaded, meter = None, None
    for task in run.tasks:
        if (folder / task.result_file).is_file():
            continue
        if meter is None or task.weights != loaded:
            meter = None
            gc.collect()  # the one before makes room
            loaded, meter = task.weights, _meter(run, task.weights)
        _measure(folder, task, meter, JudgeLimits(tokens_max=run.tokens_max))


def _versions(device: str) -> dict[str, str]:
    cuda = torch.cuda.is_available() and device != "cpu"
    packages = {name: version(name) for name in ("peft", "torch", "transformers", "trl")}
    return packages | {"device": torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPU cores"}


def _measure(folder: Path, task: MeasuringTask, meter: SignalMeter, limits: JudgeLimits) -> None:
    path = folder / task.rows_file
    rows = sum(1 for _ in conversations_in(path))
    judges = meter.judges(limits)
    measured: list[Measurement] = []
    judged: list[Judged] = []
    conversations = conversations_in(path)
    while part := list(islice(conversations, _ROWS)):
        measured += meter.measure(part)
        judged += judges.judge(part, Judge.LOGITS)[0] if task.judged else [Judged(error="not asked")] * len(part)
        print(MeasuringProgress(task=task.name, rows_done=len(measured), rows=rows).model_dump_json(), flush=True)  # noqa: T201 - read by the parent
    unfinished = folder / f".{task.result_file}"
    with unfinished.open("wb") as file:
        np.savez(file, **_arrays(measured, judged, meter.embedding_size))
    unfinished.replace(folder / task.result_file)


def _arrays(measured: Sequence[Measurement], judged: Sequence[Judged], size: int) -> dict[str, np.ndarray]:
    nothing = np.zeros(size, dtype=np.float32)

    def vectors(name: str) -> np.ndarray:
        found = (getattr(one, name) for one in measured)
        return np.stack([nothing if one is None else one for one in found]) if measured else np.empty((0, size), np.float32)

    return {
        LOSS: np.array([one.loss_mean for one in measured], dtype=np.float64),
        ERROR: np.array([one.error for one in measured], dtype=np.str_),
        LENGTHS: np.array([(one.prompt_tokens, one.response_tokens) for one in measured], dtype=np.int64).reshape(-1, 2),
        TRUNCATED: np.array([one.truncated for one in measured], dtype=np.bool_),
        PROMPTS: vectors("prompt_embedding"),
        CONVERSATIONS: vectors("conversation_embedding"),
        SCORES: np.array([one.scores for one in judged], dtype=np.float64).reshape(-1, len(JUDGED)),
        JUDGE_ERROR: np.array([one.error for one in judged], dtype=np.str_),
    }


def _meter(run: MeasuringRun, weights: str) -> SignalMeter:
    """The meter for the base, for other weights, or for an adapter: that one is merged into the base, as a roll-out does."""
    limits = Limits(tokens_max=run.tokens_max)
    if not weights or not (Path(weights) / "adapter_config.json").is_file():
        return SignalMeter.load(Path(weights or run.base), device=run.device, limits=limits)
    from peft import PeftModel  # noqa: PLC0415 - most of the seconds that importing takes, and few runs measure an adapter

    with tempfile.TemporaryDirectory(dir=Path(weights).parent, prefix="merged-") as merged:
        model = AutoModelForCausalLM.from_pretrained(run.base, dtype="auto")
        PeftModel.from_pretrained(model, weights).merge_and_unload().save_pretrained(merged)
        AutoTokenizer.from_pretrained(run.base).save_pretrained(merged)
        del model
        return SignalMeter.load(Path(merged), device=run.device, limits=limits)


def main(arguments: Sequence[str]) -> None:
    """The command line of this module."""
    (folder,) = map(Path, arguments)
    try:
        measure(folder)
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
