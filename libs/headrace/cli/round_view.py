"""How a round is shown: its phase and counts, and its signals' histograms with their thresholds."""

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headrace.core.budgets import Spend
from headrace.core.rounds.counts import RowCounts
from headrace.core.rounds.facts import Ending
from headrace.core.rounds.reasons import ROUND_MEANING, RoundReason
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.spending import not_asked_for
from headrace.core.rounds.state import Awaited, Phase, RoundState

if TYPE_CHECKING:  # numpy, which is not needed to list rounds
    from headrace.core.rounds.report.distributions import Histogram

_BARS = " ▁▂▃▄▅▆▇█"
_RATE_WINDOW_S = 10.0
_WAY = (
    Phase.SURVEYING, Phase.THRESHOLDS, Phase.REFINING, Phase.VALIDATING, Phase.COMMITTING, Phase.TRAINING, Phase.EVALUATING,
)  # fmt: skip
_BEFORE_REWRITES = frozenset({Phase.PLANNED, Phase.SURVEYING, Phase.THRESHOLDS, Phase.REFINING})
_MODEL = "signals"
"""What `headrace train` trains where nothing else is said."""
_REASONS_MAX = 5
_EXAMPLE_CHARS_MAX = 160
_TITLES = {"loss_post": "loss, nats per response token", "density": "density, mean cosine", "quality": "quality, 0 to 10"}


def line_of(state: RoundState) -> str:
    """A round in one line."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(state.begun.started_at))
    name = f"{state.round_id}  {f'round {state.ordinal}' if state.ordinal else 'not begun':<9}"
    measured = f"version {state.begun.version_sequence} by {state.begun.survey.model} {state.begun.survey.model_version}"
    made = f" -> version {state.committed.version_sequence}" if state.committed else ""
    why = f"  {state.reason}" if state.reason else ""
    return f"{name}  {began}  {measured}{made}  {state.phase}{why}"


def meaning_of(state: RoundState) -> str:
    """Why it ended or froze, in words; empty while it runs."""
    try:
        return ROUND_MEANING[RoundReason(state.reason)]
    except ValueError:
        return state.reason


def why_of(state: RoundState) -> list[str]:
    """Why rewrites came to nothing, a line for each ending, commonest reasons first, each with what one of them said."""
    lines = []
    for ending, label in ((Ending.NOT_MADE, "not made"), (Ending.REJECTED, "rejected")):
        found = sorted((each for each in state.rewrites.reasons if each.ending == ending), key=lambda each: -each.count)
        told = [f"{each.count:,} {each.reason}{_example(each.example)}" for each in found[:_REASONS_MAX]]
        more = sum(each.count for each in found[_REASONS_MAX:])
        lines += [f"{label}: {', '.join([*told, *([f'{more:,} for other reasons'] if more else [])])}"] if told else []
    if (never := not_asked_for(state)) and state.working_in not in _BEFORE_REWRITES:
        lines.append(f"never begun: {never:,} rows of the selection")
    return lines


def undone_of(state: RoundState) -> list[str]:
    """How far the undoing of a round is; and of one that was ended without it that its rewrites stay, and what undoes them."""
    revert = state.revert
    if revert is None:
        stays = sum(state.rewrites.accepted.values()) if state.reason == RoundReason.ABORTED else 0
        undo = f"`headrace round abort {state.dataset_id} --revert` takes them back"
        return [f"its {stays:,} accepted rewrites stay in the dataset: {undo}"] if stays else []
    if state.working_in is not Phase.REVERTING:
        return []  # its detail says what it came to
    if state.awaits is Awaited.REWRITES:
        return [f"undoing it: {state.rewrites.under_way:,} rewrites under way are waited for"]
    rows = f"{revert.restored:,} of {revert.restoring:,} rows are back, {revert.retracted:,} that were added were asked to leave"
    refused = f", {sum(revert.refused.values()):,} stay as others have them" if revert.refused else ""
    lost = f", {len(revert.lost):,} are among the dead letters" if revert.lost else ""
    return [f"undoing it: {rows}{refused}{lost}"]


def training_of(state: RoundState) -> list[str]:
    """Of a round that waits for a checkpoint, the command that makes it."""
    if state.working_in is not Phase.TRAINING or state.committed is None:
        return []
    model = state.begun.survey.model
    train = f"{'' if model == _MODEL else f'HEADRACE_TRAINER_MODEL={model} '}headrace train {state.dataset_id}"
    told = f"a checkpoint trained on version {state.committed.version_sequence} is waited for: `{train} --version"
    return [f"{told} {state.committed.version_sequence}` makes it, unless `{train} --versions` runs"]


def _example(text: str) -> str:
    return f" ({text[:_EXAMPLE_CHARS_MAX]}{'…' if len(text) > _EXAMPLE_CHARS_MAX else ''})" if text else ""


class RoundView:
    """What `headrace round watch` shows. `take` the latest state, then `render`; rates are those of the last ten seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, RoundState]] = deque()

    def take(self, state: RoundState) -> None:
        """The round as it stands now."""
        now = time.monotonic()
        self._looks.append((now, state))
        while now - self._looks[0][0] > _RATE_WINDOW_S:
            self._looks.popleft()

    def render(self, histograms: "Mapping[str, Histogram]", bounds: Mapping[str, float]) -> RenderableType:
        """The view as of the latest state."""
        state = self._looks[-1][1]
        parts: list[RenderableType] = [_head(state), Columns([self._rows(), _rewrites(state)], padding=(0, 4))]
        parts += [Text(f"\n{line}") for line in (*training_of(state), *undone_of(state), *why_of(state))]
        parts += [drawn(column, histogram, bounds.get(column)) for column, histogram in histograms.items()]
        return Group(*parts)

    def _rows(self) -> Table:
        (then, before), (now, state) = self._looks[0], self._looks[-1]
        table = Table("rows", "", "per second", box=None, pad_edge=False)
        evaluates = state.working_in is Phase.EVALUATING
        counts, earlier = (state.held_out_rows, before.held_out_rows) if evaluates else (state.rows, before.rows)
        for label, number, rate in _row_counts(counts, earlier, now - then):
            table.add_row(label, f"{number:,}", rate)
        return table


def drawn(column: str, histogram: "Histogram", bound: float | None) -> Text:
    """A histogram in two lines, and its threshold as a mark below it."""
    most = max(*histogram.counts, 1)
    bars = "".join(_BARS[math.ceil(count / most * (len(_BARS) - 1))] for count in histogram.counts)
    low, high = histogram.frame.low, histogram.frame.high
    text = Text(f"\n{_TITLES.get(column, column)}, {histogram.rows:,} rows\n", style="bold")
    text.append(bars + "\n", style="cyan")
    if bound is not None and low <= bound <= high:
        place = min(len(bars) - 1, int((bound - low) / (high - low) * len(bars)))
        text.append(f"{' ' * place}^ {bound:.4g}\n", style="yellow")
    elif bound is not None:
        text.append(f"threshold {bound:.4g}\n", style="yellow")
    text.append(f"{low:<12.4g}{high:>{max(1, len(bars) - 12)}.4g}", style="dim")
    return text


def _head(state: RoundState) -> Text:
    text = Text(f"{state.round_id}  round {state.ordinal} of {state.dataset_id}, version {state.begun.version_sequence}\n")
    if state.begun.trained_otherwise:
        text.append(f"begun all the same: {state.begun.trained_otherwise}\n", style="yellow")
    here = state.working_in
    way = _WAY if state.revert is None else (*_WAY, Phase.REVERTING)
    for phase in way:
        text.append(phase.value, style="bold green" if phase is here else "dim")
        text.append(" > " if phase is not way[-1] else "", style="dim")
    if state.phase not in way:
        text.append(f"  {state.phase}", style="bold red" if state.phase is Phase.FROZEN else "bold")
        text.append(f"\n{meaning_of(state)}\n{state.detail}")
    else:
        left = "" if state.deadline is None else f", {max(0.0, state.deadline - time.time()):,.0f} s left"
        text.append(f"\nwaits for {state.awaits.replace('_', ' ')}{left}")
    text.append("\n")
    return text


def _row_counts(counts: RowCounts, earlier: RowCounts, elapsed_s: float) -> list[tuple[str, int, str]]:
    def rate(now: int, before: int) -> str:
        return f"{max(0, now - before) / elapsed_s:,.1f}" if elapsed_s > 0 else ""

    return [
        ("sent" if counts.all_sent else "sent so far", counts.sent, rate(counts.sent, earlier.sent)),
        ("measured", counts.measured, rate(counts.measured, earlier.measured)),
        ("  without signals", counts.not_made, ""),
        ("among the dead letters", len(counts.lost), ""),
        ("model tokens", counts.tokens, rate(counts.tokens, earlier.tokens)),
    ]


def _rewrites(state: RoundState) -> Table:
    rewrites, selected = state.rewrites, state.selected
    table = Table("rewrites", *(axis.replace("_", " ") for axis in Axis), box=None, pad_edge=False)
    if selected is not None:
        table.add_row("selected", *(f"{getattr(selected, axis.value):,}" for axis in Axis))
    for label, tally in (("accepted", rewrites.accepted), ("rejected", rewrites.rejected), ("not made", rewrites.not_made)):
        table.add_row(label, *(f"{tally.get(axis, 0):,}" for axis in Axis))
    table.add_row("under way", f"{rewrites.under_way:,}")
    table.add_row("not begun", f"{not_asked_for(state):,}")
    for each in (Spend(rewrites.tokens, rewrites.money), *rewrites.roles_spent):
        spent = "tokens unknown" if each.tokens is None else f"{each.tokens:,} tokens"
        money = f", {each.money:.4g} in money" if each.money else ""
        table.add_row(f"  by {escape(each.role)}" if each.role else "spent", spent + money)
    return table
