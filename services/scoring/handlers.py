"""Measures samples with the model being trained, and with a second one where the dataset's policy names it."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from headrace.core.dossiers import BASE, CURRENT, Cost, Dossier, ScoredSample, Signals
from headrace.core.events import Emit, Event, Result, Retry, Send, Stop, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.signal_model import Measured, ModelMissing, SignalModel, SignalModels
from headrace.core.topics import SCORED

STAGE = "scoring"


@dataclass(frozen=True, slots=True)
class Scoring:
    """What the handler needs: the standing policies and the models."""

    policy_of: Callable[[str], Policy | None]
    models: SignalModels
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Sheet:
    """What is known of one sample so far; a `retry` ends its way here."""

    dossier: Dossier
    policy: Policy | None
    current: Measured | None = None
    base: Measured | None = None
    seconds: float = 0.0
    retry: Retry | None = None
    tokens: int = field(default=0)


async def score(events: Sequence[Event[Dossier]], scoring: Scoring) -> list[Result]:
    """One SCORED event for each sample, its signals and embeddings in it, or the reason why they were not made.

    All samples of a batch are measured by one version of each model. Measuring again after a kill changes nothing: only
    one attempt's result becomes visible.

    Raises:
        Stop: the model server is gone or lacks the current model.
    """
    sheets = [_Sheet(event.body, scoring.policy_of(event.body.sample.dataset_id)) for event in events]
    for sheet in sheets:
        if sheet.policy is None:
            sheet.retry = no_policy(sheet.dossier.sample.dataset_id)
    await _measure_current([sheet for sheet in sheets if sheet.retry is None], scoring)
    for name, named in _by_base_model(sheets).items():
        await _measure_base(name, named, scoring)
    return [_result(sheet) for sheet in sheets]


async def _measure_current(sheets: Sequence[_Sheet], scoring: Scoring) -> None:
    if not sheets:
        return
    try:
        await _measure(await scoring.models.current(), CURRENT, sheets, scoring.clock)
    except ModelMissing as missing:
        raise Stop(f"{missing}: load it, or name another in HEADRACE_SCORING_MODEL") from missing


async def _measure_base(name: str, sheets: Sequence[_Sheet], scoring: Scoring) -> None:
    """A base model that is missing holds up the datasets that ask for it, and no others."""
    try:
        await _measure(await scoring.models.named(name), BASE, sheets, scoring.clock)
    except ModelMissing as missing:
        for sheet in sheets:
            sheet.retry = Retry("model_missing", f"the policy's signals.base_model: {missing}")


def _by_base_model(sheets: Sequence[_Sheet]) -> dict[str, list[_Sheet]]:
    groups: defaultdict[str, list[_Sheet]] = defaultdict(list)
    for sheet in sheets:
        is_measured = sheet.current is not None and not sheet.current.signals.error
        if is_measured and sheet.policy is not None and sheet.policy.signals.base_model:
            groups[sheet.policy.signals.base_model].append(sheet)
    return groups


async def _measure(model: SignalModel, role: str, sheets: Sequence[_Sheet], clock: Callable[[], float]) -> None:
    began = clock()
    outcomes = await model.measure([sheet.dossier.sample for sheet in sheets], role)
    seconds = clock() - began
    tokens = [_tokens(outcome.signals) if isinstance(outcome, Measured) else 0 for outcome in outcomes]
    for sheet, outcome, share in zip(sheets, outcomes, tokens, strict=True):
        if not isinstance(outcome, Measured):
            sheet.retry = Retry("not_measured", outcome.error)
            continue
        if role == CURRENT:
            sheet.current = outcome
        else:
            sheet.base = outcome
        sheet.tokens += share
        sheet.seconds += seconds * share / max(1, sum(tokens))


def _tokens(signals: Signals) -> int:
    return signals.prompt_tokens + signals.response_tokens


def _result(sheet: _Sheet) -> Result:
    if sheet.retry is not None:
        return sheet.retry
    if sheet.current is None:
        raise AssertionError("a sample was neither measured nor retried")
    made = tuple(measured.signals for measured in (sheet.current, sheet.base) if measured is not None)
    kept = tuple(signals for signals in sheet.dossier.signals if signals.role not in {CURRENT, BASE})
    # Response tokens are read here too, not written: this stage completes nothing.
    cost = Cost(STAGE, seconds=sheet.seconds, prompt_tokens=sheet.tokens, completion_tokens=0)
    dossier = replace(sheet.dossier, signals=(*kept, *made), costs=(*sheet.dossier.costs, cost))
    return Emit((Send(SCORED, ScoredSample(dossier, sheet.current.embeddings)),))
