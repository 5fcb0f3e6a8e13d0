"""Standing thresholds computed: from the first samples of a model version, or taken from a round's selection. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.core.rounds.moments import Floats
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Axis, SelectionRules
from headrace.core.rounds.signal_rows import SignalRows
from headrace.core.rounds.standing import ROWS_MAX, StandingPolicy, StandingThresholds
from headrace.core.rounds.surveys import Judge, Survey
from headrace.core.rounds.thresholds import ColumnBound, Threshold, surveys_of

CALIBRATION = "calibration"
"""The source of thresholds that come from no round."""

_NAMES = {"loss_post": ("loss", "loss_max"), "quality": ("quality", "quality_min")}
"""What a column's numbers and its bound are called; the base model's loss has no bound between rounds."""


def calibrated(
    standing: StandingPolicy,
    rounds: RoundPolicy,
    model: str,
    model_version: str,
    losses: Floats,
    qualities: Floats,
    ruler_hash: str = "",
) -> StandingThresholds:
    """The thresholds over these rows, in any order; `qualities` count where the policy asks for them, judged by one ruler.

    Numbers that are not there (NaN) are left out, as in rounds of mode headrace. An axis that rounds leave out has no bound.
    """
    nothing, never = np.full(len(losses), np.nan), np.zeros(len(losses), dtype=np.bool_)
    rows = SignalRows(losses, nothing, nothing, qualities if standing.low_quality else nothing, never, never)
    found = []
    for survey in surveys_of(_rules(standing, rounds), ROWS_MAX):
        survey.add(rows)
        found.append(survey.threshold())
    return _thresholds(model, model_version, CALIBRATION, len(losses), found, ruler_hash)


def of_round(standing: StandingPolicy, survey: Survey, summary: Mapping[str, Any]) -> StandingThresholds | None:
    """The thresholds that a round's selection came to, from its summary (`SelectionSummary` as JSON); None without any bound.

    Of the hard axis the bound on the current model stands: of a new sample the base model's loss need not be known. A quality
    that another judge gave than the one which judges submitted samples says nothing of theirs.
    """
    wanted = {Axis.HARD: standing.hard, Axis.LOW_QUALITY: standing.low_quality and survey.judge is Judge.LOGITS}
    told = [outcome["threshold"] for outcome in summary.get("axes", ())]
    found = [
        Threshold(**{**each, "axis": Axis(each["axis"]), "bounds": tuple(ColumnBound(**bound) for bound in each["bounds"])})
        for each in told
        if wanted.get(Axis(each["axis"]), False)
    ]
    if not found:
        return None
    rows = max(each.rows_measured for each in found)
    source = f"round {survey.round_id}"
    ruler_hash = str(summary.get("ruler_hash", ""))
    thresholds = _thresholds(survey.model, survey.model_version, source, rows, found, ruler_hash) if rows else None
    return thresholds if thresholds is not None and thresholds.bounds_anything else None


def _rules(standing: StandingPolicy, rounds: RoundPolicy) -> SelectionRules:
    """One column for each axis, with the coefficient that rounds have in force."""
    asked = rounds.selection(has_base=True)
    return SelectionRules(
        hard=asked.rule_of(Axis.HARD) if standing.hard else None,
        sparse=None,
        low_quality=asked.rule_of(Axis.LOW_QUALITY) if standing.low_quality else None,
        has_base=False,
    )


def _thresholds(
    model: str, model_version: str, source: str, rows: int, found: Sequence[Threshold], ruler_hash: str
) -> StandingThresholds:
    """The ruler is that of quality alone: a loss is measured by the model's weights."""
    numbers: dict[str, Any] = {}
    for threshold in found:
        for bound in threshold.bounds:
            if bound.column in _NAMES:
                name, limit = _NAMES[bound.column]
                numbers |= {limit: bound.bound, f"{name}_mean": bound.mean, f"{name}_std": bound.std, f"{name}_m": threshold.m}
                numbers |= {"ruler_hash": ruler_hash or None} if bound.column == "quality" else {}
    return StandingThresholds(model=model, model_version=model_version, rows=rows, source=source, **numbers)
