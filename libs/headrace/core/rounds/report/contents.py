"""What a round's report tells, as numbers and texts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from headrace.core.dossiers import Comparison, EndpointJudgement
from headrace.core.rounds.moments import Floats
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.report.distributions import Histogram
from headrace.core.rounds.report.gains import AxisGains
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import HeldOutMeasured, Phase, RoundState
from headrace.core.rounds.tally import SelectionSummary
from headrace.core.version_costs import StageCost

Outcomes = npt.NDArray[np.int8]
"""For each point its place in the list of all Outcome."""


class Outcome(StrEnum):
    """What a point on a picture is: a row of the surveyed version, or a rewrite that was accepted."""

    UNTOUCHED = "untouched"
    HARD = "hard"
    SPARSE = "sparse"
    LOW_QUALITY = "low_quality"
    REWRITTEN = "rewritten"
    ADDED = "added"


CODE = {outcome: np.int8(place) for place, outcome in enumerate(Outcome)}


@dataclass(frozen=True, slots=True)
class Points:
    """Points on a picture; of rows of the surveyed version they are some of the `rows` that there are."""

    x: Floats
    y: Floats
    outcome: Outcomes
    rows: int


@dataclass(frozen=True, slots=True)
class TableNumbers:
    """What the signal table shows. `histograms` by column; `losses` has the base model's loss as x, the current one's as y.

    `not_made` counts rows without signals by the reason given, the rarer ones together under "other reasons".
    """

    rows: int
    histograms: Mapping[str, Histogram]
    losses: Points | None
    not_made: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """Prompt embeddings in the plane of the largest variance; `explained` is the share along x and y, 0 to 1.

    The plane is that of `fitted_on` rows of the surveyed version; some of the `rewrites` that were accepted are placed into it.
    """

    points: Points
    explained: tuple[float, float]
    fitted_on: int
    dimensions: int
    rewrites: int = 0


@dataclass(frozen=True, slots=True)
class RewriteSeen:
    """One attempt that was decided. `parent` and `own` are the numbers on its axis, None where they were not made."""

    sample_id: str
    revision: int
    parent_id: str
    axis: Axis
    attempt: int
    accepted: bool
    reason: str
    parent: float | None
    own: float | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and answered, cut to what fits a page; `cut` says whether anything was."""

    prompt: str
    response: str
    cut: bool


@dataclass(frozen=True, slots=True)
class RewriteShown:
    """A rewrite beside its parent. Tokens and money are what the calls for this attempt cost, None where unknown.

    `judged` is the second opinion, None where none was asked for.
    """

    seen: RewriteSeen
    attempts_max: int
    parent: Exchange
    rewrite: Exchange
    detail: str
    comparisons: tuple[Comparison, ...]
    tokens: int | None
    money: float | None
    currency: str
    judged: EndpointJudgement | None = None


@dataclass(frozen=True, slots=True)
class RewriteNumbers:
    """The attempts decided, and some of them in full. `attempts` counts all there are, `seen` holds at most a bounded number.

    `costs` adds up what each stage spent on them. `last` of the attempts are the last of their rewrites' ways. `read_from` says
    how many lay where, "version 3" for one; `unread` versions that might have some were not looked through.
    """

    attempts: int = 0
    seen: tuple[RewriteSeen, ...] = ()
    shown: tuple[RewriteShown, ...] = ()
    costs: Mapping[str, StageCost] = field(default_factory=dict)
    last: int = 0
    read_from: Mapping[str, int] = field(default_factory=dict)
    unread: int = 0


@dataclass(frozen=True, slots=True)
class VersionNumbers:
    """The round's new version: accepted rows by how they came to be."""

    rows_by_origin: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase of the round; `until` is None for the one it is in. Unix seconds."""

    phase: Phase
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class HeldOutOfRound:
    """A round of the dataset and its held-out loss, None where it measured none."""

    ordinal: int
    round_id: str
    phase: Phase
    held_out: HeldOutMeasured | None


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """A guard or a stop rule: `value` must be `operator` `bound`. None: not known, or no bound set; `held` then is None too."""

    name: str
    meaning: str
    value: float | None
    operator: str
    bound: float | None

    @property
    def held(self) -> bool | None:
        if self.value is None or self.bound is None:
            return None
        return self.value <= self.bound if self.operator == "<=" else self.value >= self.bound


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page. What is None was never there, or is gone: the page says which, from the round's state."""

    state: RoundState
    phases: tuple[PhaseSpan, ...]
    policy: RoundPolicy | None
    selection: SelectionSummary | None
    table: TableNumbers | None
    embedding_map: EmbeddingMap | None
    rewrites: RewriteNumbers | None
    version: VersionNumbers | None
    gains: tuple[AxisGains, ...]
    held_out: tuple[HeldOutOfRound, ...]
    rules: tuple[RuleSeen, ...]
