"""What each arm learnt: loss on held-out rows, its spread over seeds, and differences to the unchanged data, seed by seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.core.rounds.moments import Floats
from headrace.experiment.arms import TITLES, Arm, Revision


def controls_figures(
    base: Floats, losses: Mapping[Arm, Sequence[Floats]], revisions: Mapping[Arm, Revision], not_run: Mapping[Arm, str]
) -> dict[str, Any]:
    """Losses in nats per response token, of each arm an array per seed: of the held-out rows, in their order.

    Rows that could not be measured are left out everywhere. `std` is the sample deviation over seeds, None for one seed.
    """
    measured = np.isfinite([base, *(each for some in losses.values() for each in some)]).all(axis=0)
    means = {arm: [float(each[measured].mean()) for each in some] for arm, some in losses.items()}
    unchanged = means[Arm.UNCHANGED]
    return {
        "held_out_rows": int(np.count_nonzero(measured)),
        "base_loss": float(base[measured].mean()),
        "arms": {
            arm.value: {
                "losses": some,
                **_spread("loss", some),
                **_spread("difference", [one - other for one, other in zip(some, unchanged, strict=True)]),
                "rows": None if arm is Arm.UNCHANGED else _changes(revisions[arm]),
            }
            for arm, some in means.items()
        },
        "not_run": {arm.value: why for arm, why in not_run.items()},
    }


def controls_table(figures: dict[str, Any]) -> RenderableType:
    """The figures as a table: a line for each arm."""
    table = Table("trained from the base on", "changed", "held-out loss", "difference to (a)", "lower in")
    table.add_row("nothing: the base", "", f"{figures['base_loss']:.4f}", "", "", style="dim")
    for arm in Arm:
        told = figures["arms"].get(arm.value)
        if told is None:
            table.add_row(TITLES[arm], "", figures["not_run"].get(arm.value, "not run"), "", "", style="dim")
            continue
        differences = [loss - other for loss, other in zip(told["losses"], figures["arms"][Arm.UNCHANGED]["losses"], strict=True)]
        lower = f"{sum(each < 0 for each in differences)} of {len(differences)} seeds"
        table.add_row(
            TITLES[arm],
            _said(told["rows"]),
            _with_spread(told["loss_mean"], told["loss_std"], ""),
            "" if arm is Arm.UNCHANGED else _with_spread(told["difference_mean"], told["difference_std"], "+"),
            "" if arm is Arm.UNCHANGED else lower,
        )
    table.caption = (
        f"mean over {figures['held_out_rows']} held-out rows in nats per response token, then mean and sample deviation over "
        "seeds; differences are taken seed by seed; below zero is better"
    )
    return Group(Text("\nControls: what a round changes", style="bold"), table)


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {f"{name}_mean": float(np.mean(values)), f"{name}_std": std}


def _with_spread(mean: float, std: float | None, sign: str) -> str:
    return f"{mean:{sign}.4f}" + ("" if std is None else f" ± {std:.4f}")


def _changes(revision: Revision) -> dict[str, Any]:
    return {
        "count": len(revision.samples),
        "replaced": list(revision.replaced),
        "added": list(revision.added),
        "left": list(revision.evicted),
    }


def _said(changes: dict[str, Any] | None) -> str:
    if changes is None:
        return ""
    counts = ((len(changes[name]), name) for name in ("replaced", "added", "left"))
    return ", ".join(f"{count} {name}" for count, name in counts if count)
