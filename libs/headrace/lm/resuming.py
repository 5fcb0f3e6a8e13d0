"""Going on with a stream of rows where a killed training run stood, through transformers' Trainer and what is built on it (TRL).

The Trainer saves no place in a dataset. On resuming it reads as many batches as it had trained on and throws them away, which
skips the right rows only where the same rows come in the same order: a stream of accepted samples has no such order.
"""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

PLACE_FILE = "stream_place.json"
"""Lies in each checkpoint folder beside the optimizer's state."""


def resumable(trainer: Trainer) -> Trainer:
    """The same trainer; each checkpoint that it saves also says which row comes next, and resuming from one goes on there.

    For a streaming training set with `state_dict()` (`headrace.client.as_iterable_dataset`, also behind `map` and `filter`, not
    packed), read in the main process of the run: `dataloader_num_workers=0`, and with several ranks the default
    `dispatch_batches`, where rank 0 reads for all. To be called once, before `train(resume_from_checkpoint=...)`.

    Raises:
        ValueError: the training set keeps no state, or is read by workers or by each rank for itself.
    """
    args = trainer.args
    if not hasattr(trainer.train_dataset, "load_state_dict"):
        raise ValueError("the training set is no stream that keeps its place: it has no load_state_dict")
    if args.dataloader_num_workers:
        raise ValueError("the rows are read by workers, each with a place of its own: set dataloader_num_workers=0")
    if args.world_size > 1 and args.accelerator_config.dispatch_batches is False:
        raise ValueError(
            "each rank reads for itself, with a place of its own: leave dispatch_batches as it is, rank 0 reads for all"
        )
    args.ignore_data_skip = True
    rows = _Remembered(trainer.train_dataset)
    trainer.train_dataset = rows
    trainer.add_callback(_Place(rows, trainer.args.train_batch_size * args.world_size * args.gradient_accumulation_steps))
    return trainer


class _Remembered(IterableDataset):  # type: ignore[misc] # torch has types in the model environment alone
    """The rows, with the states behind those that the trainer has read ahead of what it has trained on."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self._states: deque[Any] = deque()
        self._behind = 0
        self._latest: Any = None

    def __iter__(self) -> Iterator[Any]:
        for row in self._rows:
            self._states.append(self._rows.state_dict())
            yield row

    def set_epoch(self, epoch: int) -> None:
        self._rows.set_epoch(epoch)

    def load_state_dict(self, state: Any) -> None:
        self._latest = state
        self._rows.load_state_dict(state)

    def state_behind(self, count: int) -> Any:
        """The state behind the first `count` rows since the start; the last one where there were fewer. None: before all."""
        while self._behind < count and self._states:
            self._latest = self._states.popleft()
            self._behind += 1
        return self._latest


class _Place(TrainerCallback):
    """Keeps the place with each checkpoint."""

    def __init__(self, rows: _Remembered, rows_per_step: int) -> None:
        self._rows = rows
        self._rows_per_step = rows_per_step
        self._from_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        del control
        self._from_step = state.global_step
        if state.global_step and state.is_world_process_zero:
            path = self._file(args, state)
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: the checkpoint was saved without `resumable`, or in another folder")
            self._rows.load_state_dict(json.loads(path.read_text()))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        del args, control
        self._trained(state)  # so that states of rows that are done with do not pile up

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        del control
        if state.is_world_process_zero:
            path = self._file(args, state)
            making = path.with_suffix(".making")
            making.write_text(json.dumps(self._trained(state)))
            making.replace(path)

    def _trained(self, state: TrainerState) -> Any:
        return self._rows.state_behind((state.global_step - self._from_step) * self._rows_per_step)

    def _file(self, args: TrainingArguments, state: TrainerState) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}" / PLACE_FILE
