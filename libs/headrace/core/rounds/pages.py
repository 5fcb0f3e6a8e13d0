"""What steps of many rows lead to, page by page."""

from dataclasses import dataclass

from headrace.core.dossiers import CURRENT, Dossier, Rewrite
from headrace.core.retractions import RetractionRequested
from headrace.core.rounds.facts import RewriteEnded
from headrace.core.rounds.surveys import MeasuredSample, RevertRequested, SurveyedSample, SurveyRequested


class RowsMissing(Exception):
    """Fewer rows are staged than a survey is to have; the message says how many, and names some where they are known."""


@dataclass(frozen=True, slots=True)
class SurveyPage:
    """Rows to be measured, and where the next page begins; None where this was the last one."""

    rows: tuple[SurveyedSample, ...]
    following: SurveyRequested | None


@dataclass(frozen=True, slots=True)
class RefiningPage:
    """Rewrites to ask for, and those that end before they began; `complete` where the selection has no further rows."""

    rewrites: tuple[Rewrite, ...]
    ended: tuple[RewriteEnded, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class RevertPage:
    """Rows that come back, rows that leave, and where the next page begins; None where this was the last one."""

    restored: tuple[Dossier, ...]
    leaving: tuple[RetractionRequested, ...]
    following: RevertRequested | None


def why_not_made(measured: MeasuredSample) -> str | None:
    """Why a row has no signals of the current model; None where it has them."""
    current = measured.signals_of(CURRENT)
    return "no signals" if current is None else current.error or None
