"""What the survey found of the planted damage: figures for the file, and the table for people."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.core.rounds.moments import Floats
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.signal_rows import Flags
from headrace.core.separation import Separation, separation
from headrace.experiment.damage import Damage
from headrace.experiment.planted import Row
from headrace.experiment.surveyed import Surveyed

_INTERVAL_CHARS = 9
COMBINED, DECISION = "furthest_tail", "selected"
_TITLES = {
    Axis.HARD.value: "hard",
    Axis.SPARSE.value: "sparse",
    Axis.LOW_QUALITY.value: "low quality",
    COMBINED: "furthest tail",
    DECISION: "any axis, m=1",
}


def planted_figures(rows: Sequence[Row], survey: Surveyed, seed: int) -> dict[str, Any]:
    """For each kind of damage and score the area against the clean rows, how many rows were selected, and every row's numbers."""
    scores: dict[str, Floats] = {axis.value: survey.tail(axis) for axis in survey.thresholds}
    scores |= {COMBINED: survey.furthest(), DECISION: survey.selected_by_any.astype(np.float64)}
    kinds = np.array([row.damage or "" for row in rows])
    return {
        "thresholds": {axis.value: asdict(threshold) for axis, threshold in survey.thresholds.items()},
        "selected": {kind or "clean": _selected(kinds == kind, survey) for kind in ("", *Damage)},
        "auroc": {
            kind.value: {name: _area(values, kinds == kind.value, kinds == "", seed) for name, values in scores.items()}
            for kind in Damage
        },
        "rows": [_told(row, place, survey) for place, row in enumerate(rows)],
    }


def planted_table(figures: dict[str, Any]) -> RenderableType:
    """The figures as a table: a line for each kind of damage."""
    names = [name for name in _TITLES if name in next(iter(figures["auroc"].values()))]
    table = Table("damage")
    for name in names:
        table.add_column(_TITLES[name], min_width=_INTERVAL_CHARS)
    table.add_column("selected")
    for kind, areas in figures["auroc"].items():
        table.add_row(kind.replace("_", " "), *(_shown(areas[name]) for name in names), _counted(figures["selected"][kind]))
    table.add_row("none (clean)", *("" for _ in names), _counted(figures["selected"]["clean"]), style="dim")
    table.caption = (
        "AUROC against the clean rows, with a 95% interval of a bootstrap: 0.5 is chance, and below it the damage lies on the "
        "other side; furthest tail: the greatest of the three axes' distances from the mean"
    )
    return Group(Text("\nPlanted damage: what each axis tells", style="bold"), table)


def _told(row: Row, place: int, survey: Surveyed) -> dict[str, Any]:
    """One row's damage, numbers and selection."""
    numbers = {name: float(getattr(survey.rows, name)[place]) for name in ("loss_pre", "loss_post", "density", "quality")}
    beyond = [axis.value for axis, flags in survey.beyond.items() if flags[place]]
    return {"id": row.sample.id, "damage": row.damage, "taken_from": row.taken_from, **numbers, "beyond": beyond}


def _selected(these: Flags, survey: Surveyed) -> dict[str, int]:
    counts = {axis.value: int(np.count_nonzero(flags[these])) for axis, flags in survey.beyond.items()}
    return {**counts, "any": int(np.count_nonzero(survey.selected_by_any[these])), "rows": int(np.count_nonzero(these))}


def _area(values: Floats, damaged: Flags, clean: Flags, seed: int) -> dict[str, Any] | None:
    there = np.isfinite(values)
    found = separation(values[damaged & there], values[clean & there], seed)
    return asdict(found) if isinstance(found, Separation) else None


def _shown(area: dict[str, Any] | None) -> str:
    return "-" if area is None else f"{area['area']:.2f}\n{area['low']:.2f}-{area['high']:.2f}"


def _counted(counts: dict[str, int]) -> str:
    axes = ", ".join(
        f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count and name not in {"any", "rows"}
    )
    return f"{counts['any']} of {counts['rows']}" + (f"\n{axes}" if axes else "")
