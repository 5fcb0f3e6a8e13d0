"""What came of the demo: how every sample ended, what admission got right, and what the signals alone would have told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.core.ledger import Account
from headrace.core.reasons import Reason
from headrace.core.separation import auroc
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


_DUPLICATES = (Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE, Reason.ALREADY_ADMITTED)


def render(
    samples: Sequence[DemoSample],
    ended: dict[str, Ended],
    account: Account,
    spent: Sequence[Spent],
    passages: Mapping[str, Sequence[float]],
) -> RenderableType:
    """The closing tables, to print; `passages` are the samples' seconds on the way through each stage."""
    withheld = [sample for sample in samples if sample.withheld]
    given = [sample for sample in samples if not sample.withheld]
    base_rate = sum(sample.right for sample in withheld) / max(len(withheld), 1)
    return Group(
        _heading("How every sample ended"),
        _account_table(account),
        _heading("With the reference given: what admission let in, against the truth"),
        _truth_table(given, ended),
        _heading(
            f"With the reference withheld: how well each signal alone tells the {base_rate:.0%} right answers (the base rate) "
            "from the wrong; 0.5 is chance"
        ),
        _signals_table(withheld, ended),
        _heading("What it cost"),
        _spent_table(spent, len(ended)),
        _heading("How long a sample was on its way through each stage, waiting included"),
        _passages_table(passages),
    )


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _account_table(account: Account) -> Table:
    table = Table("outcome", "samples")
    table.add_row("accepted", str(account.accepted))
    for reason, count in account.reasons.items():
        table.add_row(f"rejected: {reason}", str(count))
    for service, count in account.dead_letters_by_service.items():
        table.add_row(f"dead-lettered in {service}", str(count))
    table.add_row("in flight", str(account.in_flight))
    table.add_row("[bold]submitted[/bold]", f"[bold]{account.submitted}[/bold]")
    table.add_row("of these duplicates", str(sum(account.reasons.get(reason, 0) for reason in _DUPLICATES)))
    return table


def _truth_table(samples: Sequence[DemoSample], ended: dict[str, Ended]) -> Table:
    table = Table("", "truly right", "truly wrong")
    for label, accepted in (("admitted", True), ("turned away", False)):
        counts = [sum(1 for s in samples if _is(ended, s, accepted=accepted) and s.right is right) for right in (True, False)]
        table.add_row(label, *map(str, counts))
    return table


def _signals_table(samples: Sequence[DemoSample], ended: dict[str, Ended]) -> Table:
    known = [(s.right, ended[s.id]) for s in samples if s.id in ended]
    table = Table("signal", "AUROC", "answers")
    for name, score in _SIGNALS.items():
        made = [(value, right) for right, end in known if (value := score(end)) is not None]
        area = auroc([value for value, _ in made], [right for _, right in made])
        table.add_row(name, "-" if area is None else f"{area:.3f}", str(len(made)))
    return table


_SIGNALS: dict[str, Callable[[Ended], float | None]] = {
    "low response loss": lambda end: None if end.loss_mean is None else -end.loss_mean,
    "even response loss (low spread)": lambda end: None if end.loss_std is None else -end.loss_std,
    "short response": lambda end: -float(end.response_tokens),
    "dense neighbourhood": lambda end: end.density,
}


def _spent_table(spent: Sequence[Spent], samples: int) -> Table:
    table = Table("stage", "model tokens", "seconds", "ms a sample")
    for row in spent:
        table.add_row(
            row.stage,
            f"{row.tokens:,}" if row.tokens else "-",
            f"{row.seconds:.1f}",
            f"{1000 * row.seconds / max(samples, 1):.1f}",
        )
    return table


def _passages_table(passages: Mapping[str, Sequence[float]]) -> Table:
    table = Table("stage", "samples", "median, seconds", "95th percentile")
    for stage, seconds in passages.items():
        shares = [f"{share:.2f}" for share in np.percentile(seconds, [50, 95])] if seconds else ["-", "-"]
        table.add_row(stage, str(len(seconds)), *shares)
    return table


def _is(ended: dict[str, Ended], sample: DemoSample, *, accepted: bool) -> bool:
    return sample.id in ended and ended[sample.id].accepted is accepted
