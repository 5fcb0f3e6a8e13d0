"""One sample's story for a person to read. What the sample says cannot drive the terminal."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headrace.adapters.versions.sample_history import Ending
from headrace.checks import readable
from headrace.core.dossiers import (
    CURRENT,
    CheckOutcome,
    Comparison,
    Cost,
    Decision,
    Dossier,
    DuplicateKind,
    Placement,
    Rewrite,
    Signals,
    Verdict,
)
from headrace.core.reasons import MEANING, Reason
from headrace.core.rounds.rewrite_costs import spent_so_far, summed
from headrace.core.samples import Sample, last_assistant_index, response_text

TURNS_SHOWN = 8
TURN_CHARS_MAX = 400
EVIDENCE_CHARS_MAX = 300
NEIGHBOURS_SHOWN = 5

_VERDICT_COLOURS = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "red", Verdict.VALIDATE: "yellow", Verdict.PARKED: "yellow"}
_OUTCOME_COLOURS = {CheckOutcome.PASSED: "green", CheckOutcome.FAILED: "red", CheckOutcome.NOT_MADE: "yellow"}


def story(ending: Ending) -> RenderableType:
    """How one revision of a sample went through, from what it says to what was decided, and what that cost."""
    dossier = ending.dossier
    parts = [
        _section("conversation", _turns(dossier)),
        _section("rewrite", _rewrite(dossier)),
        _section("came back", _came_back(dossier)),
        _beside_its_parent(dossier),
        _section("reference", _reference(dossier)),
        _section("signals", (_signals(signals) for signals in dossier.signals)),
        _section("place", _place(dossier.placement)),
        _section("checks", _checks(dossier)),
        _section("decisions", _decisions(dossier.decisions)),
        _section("cost", (_cost(cost) for cost in dossier.costs)),
        _section("time", _times(ending)),
    ]
    return Panel(Group(*(part for part in parts if part is not None)), title=_title(ending), title_align="left")


def _title(ending: Ending) -> Text:
    sample, decisions = ending.dossier.sample, ending.dossier.decisions
    title = Text(f"{sample.dataset_id} / {readable(sample.id, 80)} · revision {sample.revision} · ")
    if ending.error:
        return title.append("dead letter", style="yellow")
    verdict = decisions[-1].verdict if decisions else Verdict.PARKED
    return title.append(f"{verdict.value}: {decisions[-1].reason if decisions else '?'}", style=_VERDICT_COLOURS[verdict])


def _section(name: str, lines: Iterator[str]) -> RenderableType | None:
    shown = list(lines)
    if not shown:
        return None
    table = Table.grid(padding=(0, 1))
    table.add_column(width=12, style="bold")
    table.add_column(overflow="fold")
    for index, line in enumerate(shown):
        table.add_row("" if index else name, Text.from_markup(line))
    return table


def _turns(dossier: Dossier) -> Iterator[str]:
    messages = dossier.sample.messages
    left_out = len(messages) - TURNS_SHOWN
    for index, message in enumerate(messages):
        if left_out > 0 and TURNS_SHOWN // 2 <= index < TURNS_SHOWN // 2 + left_out:
            if index == TURNS_SHOWN // 2:
                yield f"[dim]… {left_out} turns …[/dim]"
            continue
        calls = "".join(f" → {_shown(call.name, 60)}({_shown(call.arguments, 120)})" for call in message.tool_calls)
        yield f"[cyan]{escape(message.role)}[/cyan] {_shown(message.content, TURN_CHARS_MAX)}{calls}"


def _reference(dossier: Dossier) -> Iterator[str]:
    reference = dossier.sample.reference
    if reference is not None:
        verifier = f" [dim]({_shown(reference.verifier, 40)})[/dim]" if reference.verifier else ""
        yield f"{_shown(reference.answer or reference.rubric, TURN_CHARS_MAX)}{verifier}"


def _rewrite(dossier: Dossier) -> Iterator[str]:
    """Why a round made it, which attempt it is, and what all attempts cost."""
    rewrite = dossier.rewrite
    if rewrite is None:
        return
    yield (
        f"round {_shown(rewrite.round_id, 60)} (number {rewrite.round_ordinal}), axis {_shown(rewrite.axis, 20)}, "
        f"attempt {rewrite.attempt} of {rewrite.attempts_max}"
    )
    if rewrite.adds:
        yield "it stands beside its parent, whose place another rewrite takes"
    if rewrite.previous_failure:
        yield f"attempt {rewrite.attempt - 1} was turned away: {_shown(rewrite.previous_failure, EVIDENCE_CHARS_MAX)}"
    origin = dossier.sample.origin
    yield f"[dim]recipe {_shown(origin.recipe, 60)} {_shown(origin.recipe_version, 20)}[/dim]"
    if rewrite.spent:
        yield _cost(replace(summed(spent_so_far(dossier)), stage="all attempts"))


def _came_back(dossier: Dossier) -> Iterator[str]:
    """That it is what it was before a round."""
    if by := dossier.sample.origin.restored_by:
        yield f"as it was before round {_shown(by, 60)}, which was undone"


def _beside_its_parent(dossier: Dossier) -> RenderableType | None:
    """What parent and rewrite say, and the numbers of both; the one that it had to beat stands out."""
    rewrite = dossier.rewrite
    if rewrite is None:
        return None
    table = Table(padding=(0, 1))
    for name in ("", f"parent, revision {rewrite.parent.revision}", f"rewrite, revision {dossier.sample.revision}"):
        table.add_column(name, overflow="fold", ratio=None if not name else 1)
    for row in _both(rewrite, dossier):
        table.add_row(*(Text.from_markup(cell) for cell in row))
    return table


def _both(rewrite: Rewrite, dossier: Dossier) -> Iterator[tuple[str, str, str]]:
    parent, sample, signals = rewrite.parent, dossier.sample, dossier.signals_of(CURRENT)
    if parent.id != sample.id:
        yield "id", _shown(parent.id, 80), _shown(sample.id, 80)
    yield "prompt", _shown(_prompt(parent), TURN_CHARS_MAX), _shown(_prompt(sample), TURN_CHARS_MAX)
    yield "response", _shown(response_text(parent), TURN_CHARS_MAX), _shown(response_text(sample), TURN_CHARS_MAX)
    judged = signals.judgement.quality if signals is not None and signals.judgement is not None else None
    cosine = dossier.placement.parent_cosine if dossier.placement is not None else None
    numbers = (
        ("loss", "hard", rewrite.parent_loss, signals.loss_mean if signals is not None else None),
        ("quality", "low_quality", rewrite.parent_quality, judged),
        ("density, cosine to the parent", "sparse", rewrite.parent_density, cosine),
    )
    for name, axis, before, after in numbers:
        name_shown = f"[bold]{name}[/bold]" if axis == rewrite.axis else name
        yield name_shown, _number(before), _number(after)
    if (second := rewrite.judged) is not None:
        yield f"quality as {_shown(second.model, 40)} judges it", _number(second.parent_quality), _number(second.quality)


def _prompt(sample: Sample) -> str:
    """The last turn before the answer."""
    index = last_assistant_index(sample) - 1
    return sample.messages[index].content if index >= 0 else ""


def _number(value: float | None) -> str:
    return "[yellow]not made[/yellow]" if value is None else f"{value:.6g}"


def _signals(signals: Signals) -> str:
    model = f"[dim]{_shown(f'{signals.model} {signals.model_version}', 80)}[/dim]"
    if signals.loss_mean is None:
        return f"{signals.role}: [yellow]not made[/yellow]: {_shown(signals.error, EVIDENCE_CHARS_MAX)} {model}"
    spread = f" ± {signals.loss_std:.4g}" if signals.loss_std is not None else ""
    cut = ", [yellow]truncated[/yellow]" if signals.truncated else ""
    tokens = f"{signals.prompt_tokens} prompt and {signals.response_tokens} response tokens"
    return f"{signals.role}: loss {signals.loss_mean:.4g}{spread} nats per response token, {tokens}{cut} {model}"


def _place(placement: Placement | None) -> Iterator[str]:
    if placement is None:
        return
    if placement.duplicate_kind is not DuplicateKind.NONE:
        of = placement.duplicate_of
        name = f" of {_shown(of.sample_id, 80)} revision {of.revision}, cosine {of.cosine:.5f}" if of else ""
        yield f"[yellow]{placement.duplicate_kind.value.replace('_', ' ')}[/yellow]{name}"
    if placement.parent_cosine is not None:
        yield f"cosine {placement.parent_cosine:.4f} to its parent"
    density = "too few neighbours for a density" if placement.density is None else f"density {placement.density:.4f}"
    yield f"{density}, among {placement.compared_with} accepted; {placement.prompt_copies} with the same prompt"
    for neighbour in placement.neighbours[:NEIGHBOURS_SHOWN]:
        yield f"[dim]cosine {neighbour.cosine:.4f}[/dim] {_shown(neighbour.sample_id, 80)} revision {neighbour.revision}"


def _checks(dossier: Dossier) -> Iterator[str]:
    for check in dossier.checks:
        colour = _OUTCOME_COLOURS[check.outcome]
        outcome = check.outcome.value.replace("_", " ")
        yield f"{_shown(check.check, 60)} [{colour}]{outcome}[/{colour}]: {_shown(check.evidence, EVIDENCE_CHARS_MAX)}"


def _decisions(decisions: tuple[Decision, ...]) -> Iterator[str]:
    for decision in decisions:
        colour = _VERDICT_COLOURS[decision.verdict]
        detail = f" ({_shown(decision.detail, EVIDENCE_CHARS_MAX)})" if decision.detail else ""
        policy = f"[dim]under policy {_shown(decision.policy_version, 40)}[/dim]"
        yield f"[{colour}]{decision.verdict.value}[/{colour}]: {_meaning(decision.reason)}{detail} {policy}"
        for comparison in decision.comparisons:
            yield f"  {_comparison(comparison)}"


def _meaning(reason: str) -> str:
    return MEANING[Reason(reason)] if reason in set(Reason) else _shown(reason, 60)


def _comparison(comparison: Comparison) -> str:
    value = "nothing" if comparison.value is None else f"{comparison.value:.6g}"
    held = "[green]holds[/green]" if comparison.held else "[red]does not hold[/red]"
    return f"{_shown(comparison.quantity, 60)} {value} {escape(comparison.operator)} {comparison.bound:.6g} {held}"


def _cost(cost: Cost) -> str:
    parts = [
        f"{cost.seconds:.3g} s" if cost.seconds is not None else "",
        f"{cost.prompt_tokens} prompt tokens" if cost.prompt_tokens is not None else "",
        f"{cost.completion_tokens} completion tokens" if cost.completion_tokens is not None else "",
        f"{cost.money:.6g} {_shown(cost.currency, 8)}" if cost.money is not None else "",
    ]
    return f"{_shown(cost.stage, 40)}: {', '.join(part for part in parts if part) or 'unknown'}"


def _times(ending: Ending) -> Iterator[str]:
    submitted_at = ending.dossier.submitted_at
    yield f"submitted {_utc(submitted_at)}"
    if ending.ended_at is not None:
        yield f"ended {_utc(ending.ended_at)}, {max(0.0, ending.ended_at - submitted_at):.2f} s later"
    if ending.error:
        yield f"[yellow]{_shown(ending.error, EVIDENCE_CHARS_MAX)}[/yellow]"
    yield f"[dim]{escape(ending.where)}[/dim]"


def _utc(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _shown(text: str, chars_max: int) -> str:
    return escape(readable(text, chars_max))
