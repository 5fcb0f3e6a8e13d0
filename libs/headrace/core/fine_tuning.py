"""What one fine-tuning run is told and what it tells: shared by the trainer and the model's side. Pure.

A run has a folder: `run.json` says what to do, `train.jsonl` and `held_out.jsonl` hold conversations, one JSON object a
line (`id`, `revision`, `messages`, `tools`). It leaves `weights/` and, last, `outcome.json`; `state/` is for resuming.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RUN_FILE = "run.json"
TRAIN_FILE = "train.jsonl"
HELD_OUT_FILE = "held_out.jsonl"
WEIGHTS_FOLDER = "weights"
STATE_FOLDER = "state"
OUTCOME_FILE = "outcome.json"

_DRAWS = 1 << 63


class Hyperparameters(BaseModel):
    """What shapes the result of a run. The defaults are for two CPU cores: minutes, with a model of 135 million parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    full: bool = Field(False, description="Train all weights instead of a LoRA adapter.")
    steps: int = Field(16, ge=1, description="Optimizer steps.")
    batch_rows: int = Field(2, ge=1, description="Conversations in one forward pass.")
    accumulate: int = Field(1, ge=1, description="Forward passes of one step.")
    tokens_max: int = Field(192, ge=8, description="Conversations are cut at their end beyond so many tokens.")
    learning_rate: float = Field(2e-4, gt=0, allow_inf_nan=False, description="Peak learning rate.")
    warmup_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises; then it falls."
    )
    lora_rank: int = Field(8, ge=1, description="Rank of the LoRA adapter.")
    lora_alpha: int = Field(16, ge=1, description="Scale of the LoRA adapter, over its rank.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the order of the rows and of the adapter's beginning.")

    @property
    def rows_max(self) -> int:
        """How many rows the steps can take: more are not read."""
        return self.steps * self.batch_rows * self.accumulate


class FineTuningRun(BaseModel):
    """The whole of `run.json`. `base` is the folder of the weights to begin from, `base_name` what people call them.

    `threads` are those of a run on a CPU; 0 takes half of the cores, since the stack needs the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    base_name: str
    hyperparameters: Hyperparameters
    save_every_steps: int = Field(8, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0)


class Stage(StrEnum):
    """What a run is doing, or what a trainer waits for."""

    WAITING = "waiting for a version"
    WAITING_FOR_ROUND = "waiting for the round that is at work"
    AWAY = "waiting for object store and broker"
    LOADING = "loading"
    MEASURING_BEFORE = "measuring before"
    TRAINING = "training"
    MEASURING_AFTER = "measuring after"
    WRITING = "writing"


class Progress(BaseModel):
    """One line of a run's standard output. `loss` is the latest step's, in nats per response token."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: Stage
    step: int = 0
    steps: int = 0
    loss: float | None = None


class Outcome(BaseModel):
    """What a run ends with: `rows_trained` rows are named in the samples file. Equal runs differ in their seconds alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows_trained: int = Field(ge=1)
    rows_unreadable: int = Field(ge=0)
    rows_held_out: int = Field(ge=0)
    metrics: Mapping[str, float]


def draw_of(name: str, seed: str) -> int:
    """A number from 0 to below 2**63 that follows from name and seed alone: who has the smallest is drawn first."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def held_out_bound(share: float) -> int:
    """The draw below which a prompt is held out, for a share from 0 to 1."""
    return min(int(share * _DRAWS), _DRAWS - 1)


def is_held_out(prompt_hash: str, share: float, seed: str) -> bool:
    """Whether samples with this prompt (`headrace.core.samples.prompt_hash_of`) are kept from training.

    So are about `share` (0 to 1) of all prompts, the same ones every time; a larger share holds out what a smaller one does, and
    more. Prompts are drawn and not samples, so two answers to one question never lie on both sides. Exports draw likewise.
    """
    return draw_of(prompt_hash, seed) < held_out_bound(share)
