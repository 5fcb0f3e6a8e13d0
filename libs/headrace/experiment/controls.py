"""The second experiment: a round's data set against the one it began with, and against changes made at random."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.core.rounds.rules import Axis
from headrace.core.samples import Sample
from headrace.experiment.arms import Arm, Revision, revised, without
from headrace.experiment.controls_report import controls_figures, controls_table
from headrace.experiment.mending import Ended, Mender, reasons_of
from headrace.experiment.model_side import Ask, ModelSide
from headrace.experiment.planting import Planted
from headrace.experiment.settings import Setup
from headrace.experiment.telling import Tell

_BASE = "base"
_ROUND, _RANDOM = "round", "random"
"""Rounds that rewrites are charged to."""
_TRIES = 4
"""Random rows that are tried for each one that is to be rewritten: some cannot be."""


@dataclass(frozen=True, slots=True)
class Arms:
    """The data sets of the arms that differ from D_0, why others do not, and what became of the round's rewrites."""

    revisions: Mapping[Arm, Revision]
    not_run: Mapping[Arm, str]
    rewrites: Mapping[str, Any]


async def compare(
    setup: Setup, planted: Planted, held_out: Sequence[Sample], mender: Mender, side: ModelSide, folder: Path, tell: Tell
) -> dict[str, Any]:
    """Makes the arms' data sets, trains on each with every seed, and tells the loss on the held-out rows.

    Raises:
        Stop: the chat endpoint is gone.
        ModelSideFailed: the model's side failed.
    """
    arms = await _arms(setup, planted, mender, tell)
    data = {Arm.UNCHANGED: planted.samples} | {arm: list(each.samples) for arm, each in arms.revisions.items()}
    runs = [(arm, number) for number in range(setup.seeds) for arm in data if (arm, number) != (Arm.UNCHANGED, 0)]
    tell.step(f"training {len(runs)} times from the base, {setup.steps} steps each, {setup.side_by_side} at a time")
    free = asyncio.Semaphore(setup.side_by_side)

    async def train(arm: Arm, number: int) -> Path:
        async with free:
            return await side.train(folder / f"{arm}-{number}", data[arm], setup.hyperparameters(number))

    trained = dict(zip(runs, await asyncio.gather(*(train(*run) for run in runs)), strict=True))
    trained[Arm.UNCHANGED, 0] = planted.weights
    tell.step(f"measuring what each learnt on {len(held_out)} held-out rows")
    asks = [Ask(f"{arm}-{number}", held_out, weights) for (arm, number), weights in sorted(trained.items())]
    found = await side.measure(folder / "held-out", [Ask(_BASE, held_out), *asks])
    losses = {arm: [found[f"{arm}-{number}"].loss for number in range(setup.seeds)] for arm in data}
    figures = controls_figures(found[_BASE].loss, losses, arms.revisions, arms.not_run) | {"rewrites": dict(arms.rewrites)}
    tell.show(controls_table(figures))
    return figures


async def _arms(setup: Setup, planted: Planted, mender: Mender, tell: Tell) -> Arms:
    """What a round makes of the data set, and as much change without its judgement."""
    samples, neighbours = planted.samples, planted.survey.neighbours
    chosen = _chosen(planted, setup.rewrites_max)
    if not chosen:
        return Arms({}, dict.fromkeys((arm for arm in Arm if arm is not Arm.UNCHANGED), "no row was selected"), {"selected": 0})
    tell.step(f"mending {len(chosen)} selected rows, {setup.attempts} attempts each; {mender.writer.model} writes")
    requests = [mender.rewrite(row, axis, _ROUND) for row, axis in chosen]
    ended = await mender.mended(requests)
    accepted = [each.sample for each in ended if each.sample is not None]
    rewrites: dict[str, Any] = {
        "selected": len(chosen),
        "accepted": len(accepted),
        "ended": reasons_of(ended),
        "told": _told(ended),
    }
    tell.detail(f"{len(accepted)} accepted; {', '.join(f'{why} {count}' for why, count in reasons_of(ended).items())}")
    count = len(accepted) or len(chosen)
    drawn = _drawn(len(samples), setup.seed)
    axes = [Axis(each.origin.axis) for each in accepted] or [axis for _, axis in chosen]
    tell.step(f"rewriting {count} random rows by the same endpoint, without a test")
    written = await _written_at_random(mender, drawn, axes, count)
    rewrites |= {"changed": count, "random_written": len(written), "tokens": mender.writer.tokens_spent(requests)}
    tell.detail(f"{len(written)} were written")
    revisions = {
        Arm.RANDOM_REMOVAL: without(samples, drawn[:count]),
        Arm.SELECTED_REMOVAL: without(samples, [row for row, _ in chosen][:count]),
    }
    not_run = {}
    for arm, rewritten, why in (
        (Arm.ROUND, accepted, "no rewrite was accepted: D_1 is D_0"),
        (Arm.RANDOM_REWRITES, written, "no rewrite could be read"),
    ):
        if rewritten:
            revisions[arm] = revised(samples, rewritten, neighbours)
        else:
            not_run[arm] = why
    return Arms(dict(sorted(revisions.items())), not_run, rewrites)


def _chosen(planted: Planted, rewrites_max: int) -> list[tuple[int, Axis]]:
    """The selected rows with the axis that owns each, furthest beyond first."""
    survey = planted.survey
    owner = {int(row): axis for axis, flags in survey.selected.items() for row in np.flatnonzero(flags)}
    furthest = survey.furthest()
    return [(row, owner[row]) for row in sorted(owner, key=lambda row: (-furthest[row], row))][:rewrites_max]


def _drawn(rows: int, seed: int) -> list[int]:
    """All rows in an order that follows from the seed alone."""
    order = list(range(rows))
    random.Random(f"controls {seed}").shuffle(order)  # noqa: S311 - repeatable, not secret
    return order


async def _written_at_random(mender: Mender, drawn: Sequence[int], axes: Sequence[Axis], count: int) -> list[Sample]:
    """Rewrites of random rows on the same axes, as they come; rows whose rewrite cannot be read are followed by others."""
    written: list[Sample] = []
    tried = 0
    while len(written) < count and tried < min(_TRIES * count, len(drawn)):
        part = drawn[tried : min(tried + count - len(written), _TRIES * count)]
        requests = [mender.rewrite(row, axes[(tried + place) % len(axes)], _RANDOM) for place, row in enumerate(part)]
        written += [each.dossier.sample for each in await mender.writer.write(requests) if each.dossier is not None]
        tried += len(part)
    return written


def _told(ended: Sequence[Ended]) -> list[dict[str, Any]]:
    """Every rewrite's end, for the file."""
    return [
        {"row": each.rewrite.parent.id, "axis": each.rewrite.axis, "attempts": each.rewrite.attempt, "reason": each.reason}
        for each in ended
    ]
