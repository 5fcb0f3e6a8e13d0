"""When rows that wait for a version are enough to calibrate with: the version is then asked for. Pure.

The controller calibrates with each dataset version that has rows enough of the model version which measures. Here is told how
many of the staged rows make such a version, so that nobody has to ask for it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.core.dossiers import CURRENT, Dossier
from headrace.core.rounds.standing import StandingPolicy


@dataclass(frozen=True, slots=True)
class Measurer:
    """Whose numbers a row carries: a model version's and, where quality counts, those of the ruler it judged by (else "")."""

    model: str
    model_version: str
    ruler_hash: str = ""


Run = tuple[Measurer | None, int]
"""So many rows in a row by one measurer; None: they do not count."""


def measurer_of(dossier: Dossier, standing: StandingPolicy) -> Measurer | None:
    """Who measured a decided sample; None where a calibration does not count it: a rewrite, or numbers that were not made."""
    signals = dossier.signals_of(CURRENT)
    if signals is None or signals.loss_mean is None or dossier.sample.origin.round:
        return None
    if not standing.judges:
        return Measurer(signals.model, signals.model_version)
    judgement = signals.judgement
    if judgement is None or judgement.quality is None:
        return None
    return Measurer(signals.model, signals.model_version, judgement.ruler_hash)


def awaits_calibration(dossiers: Iterable[Dossier], standing: StandingPolicy) -> bool:
    """Whether any of these was measured by who has no thresholds yet, though the policy asks for them."""
    if not standing.rows:
        return False
    measurers = {measurer for dossier in dossiers if (measurer := measurer_of(dossier, standing))}
    return any(not standing.is_calibrated(each.model, each.model_version, each.ruler_hash) for each in measurers)


def rows_wanted(measurer: Measurer, standing: StandingPolicy, models: Mapping[str, int]) -> int | None:
    """How many further rows by this measurer make a version that can be calibrated; None where none is to be.

    `models` counts the latest version's decisions (`Manifest.models`). A version that had as many and brought no thresholds was
    tried, and some of them do not count: so many again are wanted, so there is at most one version for as many rows.
    """
    if not standing.rows or standing.is_calibrated(measurer.model, measurer.model_version, measurer.ruler_hash):
        return None
    known = _known(measurer, models)
    return standing.rows - known if known < standing.rows else standing.rows


def rows_wanted_at_least(standing: StandingPolicy, models: Mapping[str, int]) -> int:
    """With fewer staged rows than these no calibration is due, whoever measured them."""
    return min((standing.rows - known for known in models.values() if known < standing.rows), default=standing.rows)


def rows_due(runs: Sequence[Run], standing: StandingPolicy, models: Mapping[str, int]) -> int | None:
    """How many staged rows, from the first one on, a version needs to be calibrated; None where there are too few.

    Up to the row that makes up the number, so that the version does not depend on the moment; where one was tried, all there
    are, so that rows in stock do not become one version after the other.
    """
    seen: Counter[Measurer] = Counter()
    before = 0
    for measurer, rows in runs:
        if measurer is not None:
            wanted = rows_wanted(measurer, standing, models)
            if wanted is not None and seen[measurer] + rows >= wanted:
                was_tried = _known(measurer, models) >= standing.rows
                return sum(count for _, count in runs) if was_tried else before + wanted - seen[measurer]
            seen[measurer] += rows
        before += rows
    return None


def _known(measurer: Measurer, models: Mapping[str, int]) -> int:
    return models.get(f"{measurer.model} {measurer.model_version}", 0)
