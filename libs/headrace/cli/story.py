"""One sample's story for a person to read. What the sample says cannot drive the terminal."""

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headrace.adapters.sample_history import Ending
from headrace.checks import readable
from headrace.core.dossiers import CheckOutcome, Comparison, Cost, Decision, Dossier, DuplicateKind, Placement, Signals, Verdict
from headrace.core.reasons import MEANING, Reason

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
