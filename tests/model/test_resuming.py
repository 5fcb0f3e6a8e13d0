"""Resuming a stream through transformers' Trainer: every row is trained on once, whatever was read ahead and in which order."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from datasets import IterableDataset
from datasets.iterable_dataset import _BaseExamplesIterable
from torch import nn
from transformers import Trainer, TrainingArguments

from headrace.lm.resuming import resumable

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

ROWS = 60


class _AnyOrder(_BaseExamplesIterable):
    """Rows that come in another order each time they are asked for, as those of several partitions do."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        state = self._state_dict
        left = sorted(set(range(ROWS)) - {int(number) for number in state["taken"].split()})
        random.Random(self._seed).shuffle(left)
        for number in left:
            state["taken"] += f" {number}"
            yield str(number), {"number": number}

    @property
    def num_shards(self) -> int:
        return 1

    def shuffle_data_sources(self, generator: Any) -> "_AnyOrder":
        return self

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = {"taken": ""}
        return self._state_dict


class _Recorder(nn.Module):
    """A model that notes which rows it was trained on."""

    def __init__(self, trained: list[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self._trained = trained

    def forward(self, number: torch.Tensor) -> dict[str, torch.Tensor]:
        self._trained.extend(number.tolist())
        return {"loss": (self.weight * number).mean()}


def trainer(out, trained: list[int], seed: int, steps: int, **options: Any) -> Trainer:
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "save_steps": 2, "report_to": "none"}
    args = TrainingArguments(str(out), max_steps=steps, use_cpu=True, disable_tqdm=True, **settings | options)
    rows = IterableDataset(_AnyOrder(seed)).map(lambda row: {"number": row["number"]})
    collate = lambda rows: {"number": torch.tensor([row["number"] for row in rows], dtype=torch.float32)}  # noqa: E731
    return Trainer(model=_Recorder(trained), args=args, train_dataset=rows, data_collator=collate)


def test_a_resumed_run_goes_on_behind_the_last_row_it_trained_on(tmp_path):
    """Killed two steps behind its checkpoint: those are trained on again, nothing is left out, nothing else comes twice."""
    first: list[int] = []
    resumable(trainer(tmp_path, first, seed=1, steps=5)).train()
    kept = first[: 4 * 6]
    second: list[int] = []
    resumable(trainer(tmp_path, second, seed=2, steps=10)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert sorted(kept + second) == list(range(ROWS))
    third: list[int] = []
    resumable(trainer(tmp_path, third, seed=3, steps=10)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert sorted(kept + second[: 4 * 6] + third) == list(range(ROWS))


def test_what_cannot_be_resumed_is_refused(tmp_path):
    """Rows that workers read, and checkpoints without a place."""
    with pytest.raises(ValueError, match="dataloader_num_workers=0"):
        resumable(trainer(tmp_path, [], seed=1, steps=2, dataloader_num_workers=2))
    trainer(tmp_path, [], seed=1, steps=2).train()
    with pytest.raises(FileNotFoundError, match=r"checkpoint-2/stream_place.json is missing"):
        resumable(trainer(tmp_path, [], seed=1, steps=4)).train(resume_from_checkpoint=True)
