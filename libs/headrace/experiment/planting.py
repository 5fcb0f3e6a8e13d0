"""The first experiment: known damage, a model trained on it, and what the survey says of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.core.rounds.rules import SelectionRules
from headrace.core.samples import Sample
from headrace.experiment.model_side import Ask, Measured, ModelSide, measured_with
from headrace.experiment.planted import Row, planted
from headrace.experiment.planted_report import planted_figures, planted_table
from headrace.experiment.settings import Setup
from headrace.experiment.surveyed import Surveyed, surveyed
from headrace.experiment.telling import Tell

RULES = SelectionRules()
"""Mode headrace, m = 1 on every axis."""


@dataclass(frozen=True, slots=True)
class Planted:
    """The damaged data set, the weights trained on it, and its survey under them."""

    rows: Sequence[Row]
    weights: Path
    current: Measured
    survey: Surveyed
    figures: dict[str, Any]

    @property
    def samples(self) -> list[Sample]:
        return [row.sample for row in self.rows]


async def plant(setup: Setup, clean: Sequence[Sample], side: ModelSide, folder: Path, tell: Tell) -> Planted:
    """Damages the rows, trains on them, measures them under the base and under what came of it, and tells what was found.

    Raises:
        ValueError: there are too few rows.
        ModelSideFailed: the model's side failed.
    """
    rows = planted(clean, share=setup.damage_share, seed=setup.seed)
    samples = [row.sample for row in rows]
    struck = sum(row.damage is not None for row in rows)
    tell.step(f"planted damage: {len(rows)} rows, {struck} of them damaged; training on them ({setup.steps} steps)")
    weights = await side.train(folder / "d0-0", samples, setup.hyperparameters(0))
    tell.step("measuring every row under the base and under the model trained on them, which judges them too")
    found = await side.measure(folder / "survey", [Ask("base", samples), Ask("current", samples, weights=weights, judged=True)])
    survey = surveyed(found["base"], found["current"], RULES)
    figures = planted_figures(rows, survey, setup.seed) | {"measured_with": measured_with(folder / "survey")}
    tell.show(planted_table(figures))
    return Planted(rows, weights, found["current"], survey, figures)
