"""What an experiment is told."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from headrace.core.fine_tuning import Hyperparameters
from headrace.core.policy_problems import problems_of

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Setup:
    """Sizes, seeds and models of an experiment.

    `rows` go into the data set, of which `damage_share` are damaged in each way; `held_out` rows of other problems measure what
    was learnt. Runs take seeds from `seed` on, `seeds` of them, `side_by_side` at a time. `rewrites_max` bounds how many
    selected rows are rewritten, each in `attempts` attempts at most. `model` is a folder of weights, None for the default's.

    A training reads no more rows than its steps take: fewer than `rows`, and some of what an arm changed is never seen.

    Raises:
        ValueError: no run can be trained so; the message names the option.
    """

    rows: int
    held_out: int
    chars_max: int
    damage_share: float
    seed: int
    seeds: int
    tokens_max: int
    train_tokens_max: int
    steps: int
    batch_rows: int
    accumulate: int
    learning_rate: float
    rewrites_max: int
    attempts: int
    reply_tokens_max: int
    side_by_side: int
    device: Device
    model: Path | None

    def __post_init__(self) -> None:
        try:
            self.hyperparameters(self.seeds - 1)
        except ValidationError as error:
            problems = (replace(each, location=(_option(each.path),)) for each in problems_of(error, Hyperparameters))
            raise ValueError("; ".join(map(str, problems))) from error

    def hyperparameters(self, number: int) -> Hyperparameters:
        """Those of the run of this number, counted from 0."""
        return Hyperparameters(
            steps=self.steps,
            batch_rows=self.batch_rows,
            accumulate=self.accumulate,
            tokens_max=self.train_tokens_max,
            learning_rate=self.learning_rate,
            seed=self.seed + number,
        )


def _option(name: str) -> str:
    """Seeds of all runs have one limit."""
    return "--seed with --seeds" if name == "seed" else f"--{name.replace('_', '-')}"
