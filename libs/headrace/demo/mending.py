"""The demo's round: the model that was just trained surveys the dataset, and what it cannot learn from is mended."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.adapters.rounds.round_states import RoundStates
from headrace.cli.round_reading import bounds_of, open_states, write_report
from headrace.cli.round_start import Asked, begin
from headrace.cli.round_view import RoundView, meaning_of
from headrace.client.seen_samples import seen_samples
from headrace.core.checkpoints import CheckpointPublished
from headrace.core.events import Stop
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Phase, RoundState
from headrace.demo import loop
from headrace.local.state import home_folder

_LOOK_S = 1.0
_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Mended:
    """A round that ended, and a copy of its report on this machine.

    `rows_trained` is how many rows its training drew, 0 without one, and `rows_new` how many of them are not as the training
    before the round had them.
    """

    state: RoundState
    report: Path
    rows_trained: int = 0
    rows_new: int = 0


async def mend(console: Console, kafka: str, dataset: str, triton: str, before: CheckpointPublished) -> Mended:
    """Runs one whole round with the model that is `before`, the training in it included, and fetches its report.

    Raises:
        CannotDo: the round cannot begin.
        CannotTrain: training failed.
        Stop: the round froze; it says why.
    """
    begun = await begin(Asked(dataset, "", "signals", triton), _ANSWER_S)
    rows: set[tuple[str, int]] = set()
    async with open_states() as states:
        state = await _shown(console, states, begun, until=Phase.TRAINING)
        if state.phase is Phase.TRAINING and state.committed is not None:
            learned = await loop.learn(kafka, dataset, state.committed.version)
            state = await _shown(console, states, state)
            rows = await _seen(learned.published)
    _, report = await write_report(dataset, state.round_id, home_folder() / f"round-{state.round_id}.html")
    return Mended(state, report, len(rows), len(rows - await _seen(before)))


async def _seen(checkpoint: CheckpointPublished) -> set[tuple[str, int]]:
    return {row async for row in seen_samples(checkpoint)}


async def _shown(console: Console, states: RoundStates, begun: RoundState, until: Phase | None = None) -> RoundState:
    """Watches the round until it ends, or comes to a phase."""
    view, state = RoundView(), begun
    with Live(console=console, auto_refresh=False) as live:
        while True:
            await states.refresh()
            state = states.state_of(begun.dataset_id, begun.round_id) or state
            view.take(state)
            live.update(view.render({}, bounds_of(state)), refresh=True)
            if state.phase is Phase.FROZEN:
                raise Stop(f"the round froze: {meaning_of(state)} {state.detail}: `headrace round status {begun.dataset_id}`")
            if not state.running or state.phase is until:
                return state
            await asyncio.sleep(_LOOK_S)


def render(mended: Mended) -> RenderableType:
    """What was selected and what became of it, and the held-out loss before and after."""
    state = mended.state
    table = Table("axis", "selected", "rewrites accepted", "rejected", "not made")
    for axis in Axis:
        selected = getattr(state.selected, axis.value) if state.selected else 0
        tallies = (state.rewrites.accepted, state.rewrites.rejected, state.rewrites.not_made)
        table.add_row(axis.replace("_", " "), str(selected), *(str(tally.get(axis, 0)) for tally in tallies))
    told = "\n".join([meaning_of(state), state.detail, *_trained(mended)])
    return Group(table, Text(told), Text(f"the round's report, to open in a browser: {mended.report}"))


def _trained(mended: Mended) -> list[str]:
    """So short a training comes across few of the rows that the round changed, and the verdict can tell of no others."""
    if not mended.rows_trained:
        return []
    changed = mended.rows_new or "none"
    return [f"the round changed {changed} of the {mended.rows_trained} rows that so short a training draws"]
