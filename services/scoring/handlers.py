"""Measures samples with the model being trained, and with a second one where the dataset's policy names it."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.core.dossiers import BASE, CURRENT, Dossier, Rewrite, ScoredSample
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send, Stop, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.signal_model import Asks, ModelMissing, SignalModels
from headrace.core.rounds.surveys import Judge
from headrace.core.topics import SCORED
from services.scoring.sheets import Clock, Sheet, measure_base, measure_current


@dataclass(frozen=True, slots=True)
class Scoring:
    """What the handlers need: the standing policies and the models."""

    policy_of: Callable[[str], Policy | None]
    models: SignalModels
    clock: Clock = time.monotonic


async def score(events: Sequence[Event[Dossier]], scoring: Scoring) -> list[Result]:
    """One SCORED event for each sample, its signals and embeddings in it, or the reason why they were not made.

    All samples of a batch are measured by one version of each model, but for rewrites: each by the version that measured its
    parent, which judges it as its round judged the parent, so that the two can be compared. Samples of datasets whose policy has
    standing thresholds of quality are judged as well, by logits. Measuring again after a kill changes nothing: only one
    attempt's result becomes visible.

    Raises:
        Stop: the model server is gone or lacks the current model.
    """
    sheets = [Sheet(event.body.sample) for event in events]
    policies = [scoring.policy_of(event.body.sample.dataset_id) for event in events]
    plain: defaultdict[Judge, list[Sheet]] = defaultdict(list)
    pinned: defaultdict[tuple[str, str, Judge], list[Sheet]] = defaultdict(list)
    for event, sheet, policy in zip(events, sheets, policies, strict=True):
        rewrite = event.body.rewrite
        if policy is None:
            sheet.ended = no_policy(sheet.sample.dataset_id)
        elif rewrite is None:
            plain[Judge.LOGITS if policy.standing.judges else Judge.NONE].append(sheet)
        elif not (rewrite.model and rewrite.model_version):
            sheet.ended = Reject("not_pinned", "the rewrite does not name the model version that measured its parent")
        elif (judge := _judge_of(rewrite)) is None:
            sheet.ended = Reject("unknown_judge", "the rewrite's round judges in a way that this release does not know")
        else:
            pinned[rewrite.model, rewrite.model_version, judge].append(sheet)
    await _measure_current(plain, scoring)
    for (name, version, judge), rewrites in pinned.items():
        await _measure_rewrites(name, version, judge, rewrites, scoring)
    for name, some in _by_base_model(sheets, policies).items():
        await _measure_base(name, some, scoring)
    return [_result(event.body, sheet) for event, sheet in zip(events, sheets, strict=True)]


async def _measure_current(sheets_by_judge: Mapping[Judge, Sequence[Sheet]], scoring: Scoring) -> None:
    if not sheets_by_judge:
        return
    try:
        model = await scoring.models.current()
        for judge, sheets in sheets_by_judge.items():
            await measure_current(model, sheets, scoring.clock, Asks(judge))
    except ModelMissing as missing:
        raise Stop(f"{missing}: load it, or name another in HEADRACE_SCORING_MODEL") from missing


def _judge_of(rewrite: Rewrite) -> Judge | None:
    """An earlier release did not tell; it judged by logits."""
    if rewrite.gate is None:
        return Judge.LOGITS
    return next((judge for judge in Judge if judge == rewrite.gate.judge), None)


async def _measure_rewrites(name: str, version: str, judge: Judge, sheets: Sequence[Sheet], scoring: Scoring) -> None:
    """A round's model that is gone holds up that round's rewrites, and no other sample."""
    try:
        await measure_current(scoring.models.at(name, version), sheets, scoring.clock, Asks(judge))
    except ModelMissing as missing:
        for sheet in sheets:
            sheet.ended = Retry("model_missing", f"the round measured with model {name} version {version}: {missing}")


async def _measure_base(name: str, sheets: Sequence[Sheet], scoring: Scoring) -> None:
    """A base model that is missing holds up the datasets that ask for it, and no others."""
    try:
        await measure_base(await scoring.models.named(name), sheets, scoring.clock)
    except ModelMissing as missing:
        for sheet in sheets:
            sheet.ended = Retry("model_missing", f"the policy's signals.base_model: {missing}")


def _by_base_model(sheets: Sequence[Sheet], policies: Sequence[Policy | None]) -> dict[str, list[Sheet]]:
    groups: defaultdict[str, list[Sheet]] = defaultdict(list)
    for sheet, policy in zip(sheets, policies, strict=True):
        if sheet.is_measured and policy is not None and policy.signals.base_model:
            groups[policy.signals.base_model].append(sheet)
    return groups


def _result(dossier: Dossier, sheet: Sheet) -> Result:
    if sheet.ended is not None:
        return sheet.ended
    kept = tuple(signals for signals in dossier.signals if signals.role not in {CURRENT, BASE})
    scored = replace(dossier, signals=(*kept, *sheet.signals), costs=(*dossier.costs, sheet.cost))
    return Emit((Send(SCORED, ScoredSample(scored, sheet.current.embeddings if sheet.current else None)),))
