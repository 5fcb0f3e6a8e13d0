"""What came of the demo: how every sample ended, what admission got right, and what the signals alone would have told."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from headrace.core.ledger import Account
from headrace.demo.champ import DemoSample


@dataclass(frozen=True, slots=True)
class Ended:
    """How one sample of the demo ended, as the dataset version tells it. Losses in nats per token."""

    accepted: bool
    reason: str
    loss_mean: float | None
    loss_std: float | None
    response_tokens: int
    density: float | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Model tokens and seconds of one stage over all samples."""

    stage: str
    seconds: float
    tokens: int


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The probability that a right answer scores above a wrong one, ties counting half; None without both kinds.

    The area under the ROC curve by the Mann-Whitney rank sum.
    """
    positive = np.asarray([s for s, r in zip(scores, right, strict=True) if r])
    negative = np.asarray([s for s, r in zip(scores, right, strict=True) if not r])
    if not len(positive) or not len(negative):
        return None
    above = (positive[:, None] > negative[None, :]).sum()
    equal = (positive[:, None] == negative[None, :]).sum()
    return float((above + equal / 2) / (len(positive) * len(negative)))


def render(samples: Sequence[DemoSample], ended: dict[str, Ended], account: Account, spent: Sequence[Spent]) -> RenderableType:
    """The closing tables, to print."""
    return Group(
        _account_table(account),
        _truth_table([s for s in samples if not s.withheld], ended),
        _signals_table([s for s in samples if s.withheld], ended),
        _spent_table(spent, len(ended)),
    )


def _account_table(account: Account) -> Table:
    table = Table("outcome", "samples", title="How every sample ended", title_justify="left")
    table.add_row("accepted", str(account.accepted))
    for reason, count in account.reasons.items():
        table.add_row(f"rejected: {reason}", str(count))
    for service, count in account.dead_letters_by_service.items():
        table.add_row(f"dead-lettered in {service}", str(count))
    table.add_row("in flight", str(account.in_flight))
    table.add_row("[bold]submitted[/bold]", f"[bold]{account.submitted}[/bold]")
    return table


def _truth_table(samples: Sequence[DemoSample], ended: dict[str, Ended]) -> Table:
    table = Table("", "truly right", "truly wrong", title="With a reference: admission against the truth", title_justify="left")
    for label, accepted in (("admitted", True), ("turned away", False)):
        counts = [sum(1 for s in samples if _is(ended, s, accepted=accepted) and s.right is right) for right in (True, False)]
        table.add_row(label, *map(str, counts))
    return table


def _signals_table(samples: Sequence[DemoSample], ended: dict[str, Ended]) -> RenderableType:
    known = [(s.right, ended[s.id]) for s in samples if s.id in ended]
    right = [r for r, _ in known]
    table = Table("signal", "AUROC", title="Without a reference: what the signals alone tell", title_justify="left")
    for name, score in (
        ("low response loss", lambda e: -e.loss_mean if e.loss_mean is not None else None),
        ("even response loss (low spread)", lambda e: -e.loss_std if e.loss_std is not None else None),
        ("short response", lambda e: -float(e.response_tokens)),
        ("dense neighbourhood", lambda e: e.density),
    ):
        pairs = [(score(e), r) for r, e in known]
        made = [(value, r) for value, r in pairs if value is not None]
        area = auroc([value for value, _ in made], [r for _, r in made])
        table.add_row(name, "-" if area is None else f"{area:.3f}")
    base_rate = sum(right) / len(right) if right else 0.0
    note = f"{len(right)} answers, {base_rate:.0%} of them right: the base rate. An AUROC of 0.5 is chance."
    return Panel(Group(table, note), expand=False, border_style="dim")


def _spent_table(spent: Sequence[Spent], samples: int) -> Table:
    table = Table("stage", "model tokens", "seconds", "ms a sample", title="What it cost", title_justify="left")
    for row in spent:
        table.add_row(
            row.stage,
            f"{row.tokens:,}" if row.tokens else "-",
            f"{row.seconds:.1f}",
            f"{1000 * row.seconds / max(samples, 1):.1f}",
        )
    return table


def _is(ended: dict[str, Ended], sample: DemoSample, *, accepted: bool) -> bool:
    return sample.id in ended and ended[sample.id].accepted is accepted
