"""What is known of each sample of a batch while its models are asked, one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.core.dossiers import BASE, CURRENT, Cost, Signals
from headrace.core.events import Reject, Retry
from headrace.core.ports.signal_model import NOTHING_MORE, Asks, Measured, SignalModel
from headrace.core.samples import Sample

STAGE = "scoring"
Clock = Callable[[], float]
"""Seconds that only grow."""


@dataclass(slots=True)
class Sheet:
    """One sample: what the models said of it, what that cost, or what `ended` its way here."""

    sample: Sample
    current: Measured | None = None
    base: Signals | None = None
    tokens: int = 0
    seconds: float = 0.0
    ended: Retry | Reject | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the current model's signals were made."""
        return self.ended is None and self.current is not None and not self.current.signals.error

    @property
    def signals(self) -> tuple[Signals, ...]:
        """The current model's signals, and the base model's where they are wanted."""
        if self.current is None:
            raise AssertionError("a sample was neither measured nor ended")
        return (self.current.signals,) if self.base is None else (self.current.signals, self.base)

    @property
    def cost(self) -> Cost:
        """Response tokens are read here too, not written: scoring completes nothing."""
        return Cost(STAGE, seconds=self.seconds, prompt_tokens=self.tokens, completion_tokens=0)


async def measure_current(model: SignalModel, sheets: Sequence[Sheet], clock: Clock, asks: Asks = NOTHING_MORE) -> None:
    """Fills in what this model says. Raises as `SignalModel.measure` does."""
    for sheet, measured in await _measured(model, CURRENT, sheets, clock, asks):
        sheet.current = measured


async def measure_base(model: SignalModel, sheets: Sequence[Sheet], clock: Clock) -> None:
    """Fills in what this model says beside the current one. Raises as `SignalModel.measure` does."""
    for sheet, measured in await _measured(model, BASE, sheets, clock, NOTHING_MORE):
        sheet.base = measured.signals


async def _measured(
    model: SignalModel, role: str, sheets: Sequence[Sheet], clock: Clock, asks: Asks
) -> list[tuple[Sheet, Measured]]:
    """The sheets whose samples the server took; the time is shared out by tokens."""
    began = clock()
    outcomes = await model.measure([sheet.sample for sheet in sheets], role, asks)
    seconds = clock() - began
    taken = []
    for sheet, outcome in zip(sheets, outcomes, strict=True):
        if isinstance(outcome, Measured):
            taken.append((sheet, outcome))
        else:
            sheet.ended = Retry("not_measured", outcome.error)
    total = max(1, sum(_tokens(measured) for _, measured in taken))
    for sheet, measured in taken:
        sheet.tokens += _tokens(measured)
        sheet.seconds += seconds * _tokens(measured) / total
    return taken


def _tokens(measured: Measured) -> int:
    return measured.signals.prompt_tokens + measured.signals.response_tokens + measured.extra_tokens
