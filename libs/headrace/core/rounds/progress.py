"""Everything that a round's state depends on: commands and facts, in one order per dataset; and the state itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import Purpose, Survey


class Phase(StrEnum):
    """Where a round stands; `ENDED` names those it never leaves. A frozen one waits for a person."""

    PLANNED = "planned"
    SURVEYING = "surveying"
    THRESHOLDS = "thresholds"
    REFINING = "refining"
    VALIDATING = "validating"
    COMMITTING = "committing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"
    FROZEN = "frozen"


ENDED = frozenset({Phase.KEPT, Phase.ROLLED_BACK, Phase.STOPPED})


class Action(StrEnum):
    """What someone may ask of a round that runs."""

    FREEZE = "freeze"
    RESUME = "resume"
    ABORT = "abort"


class Ending(StrEnum):
    """How the way of one rewrite ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_MADE = "not_made"


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """Begin a round on a version of so many rows, with the model that is to judge it; `started_at` is Unix seconds."""

    survey: Survey
    version_sequence: int
    rows: int
    policy_version: str
    rules_json: str
    requested_by: str
    started_at: float


@dataclass(frozen=True, slots=True)
class RoundAsked:
    """Someone wants the round to halt, to go on, or to end."""

    action: Action
    reason: str
    requested_by: str


@dataclass(frozen=True, slots=True)
class RowsSent:
    """A page of a survey is on its way; `complete` with the last one."""

    purpose: Purpose
    rows: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RowsMeasured:
    """Rows are in the survey's table, `not_made` of them without signals; model tokens read, and seconds."""

    purpose: Purpose
    rows: int
    not_made: int
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RowLost:
    """A row, or a rewrite, ended among the dead letters of a service."""

    purpose: Purpose | None
    sample_id: str
    revision: int
    service: str
    error: str


@dataclass(frozen=True, slots=True)
class DensitiesMade:
    """Densities of so many rows are stored."""

    rows: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RowsSelected:
    """The table was scanned. `held_out_loss` is the mean over held-out rows in nats per token, None without any."""

    purpose: Purpose
    hard: int
    sparse: int
    low_quality: int
    thresholds_json: str
    selection_sha256: str
    held_out_loss: float | None
    held_out_rows: int

    @property
    def total(self) -> int:
        return self.hard + self.sparse + self.low_quality


@dataclass(frozen=True, slots=True)
class RewritesRequested:
    """So many rewrites are on their way; `complete` with the last of the selection."""

    rows: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RewriteEnded:
    """The way of one rewrite ended, after all its attempts; cost is None where an endpoint does not say."""

    axis: Axis
    parent_id: str
    ending: Ending
    reason: str
    attempts: int
    tokens: int | None = None
    money: float | None = None


@dataclass(frozen=True, slots=True)
class RowsEvicted:
    """So many redundant rows were asked to leave."""

    rows: int


@dataclass(frozen=True, slots=True)
class RoundCommitted:
    """The round's new version exists."""

    version: str
    version_sequence: int
    rows_accepted: int


@dataclass(frozen=True, slots=True)
class CheckpointMeasures:
    """A checkpoint trained on the new version measures under `model_version`; or it was `refused`, and why."""

    checkpoint_id: str
    model_version: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time that a transition allowed is over."""

    transition: int


Fact = (
    RoundStarted | RoundAsked | RowsSent | RowsMeasured | RowLost | DensitiesMade | RowsSelected | RewritesRequested
    | RewriteEnded | RowsEvicted | RoundCommitted | CheckpointMeasures | DeadlinePassed
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RoundProgressed:
    """A command or a fact about one round."""

    dataset_id: str
    round_id: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class RoundTimer:
    """Comes after a phase's deadline; says nothing where the round has moved on since that transition."""

    dataset_id: str
    round_id: str
    transition: int


@dataclass(frozen=True, slots=True)
class HeldOutMeasured:
    """Mean response loss on the same held-out rows before and after, nats per token."""

    before: float
    after: float
    rows: int


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How far a survey is; `lost` are those among the dead letters, as "sample/revision"."""

    sent: int = 0
    all_sent: bool = False
    measured: int = 0
    not_made: int = 0
    lost: tuple[str, ...] = ()
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RewriteCounts:
    """How far refinement is, by axis; `lost` are the parents of rewrites among the dead letters.

    `cost_unknown` counts ends whose tokens are not known: `tokens` and `money` are the sums of those that are.
    """

    requested: int = 0
    all_requested: bool = False
    accepted: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    not_made: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    tokens: int = 0
    money: float = 0.0
    cost_unknown: int = 0
    lost: tuple[str, ...] = ()

    @property
    def ended(self) -> int:
        """Rewrites whose way is over, the lost ones included."""
        return sum(sum(each.values()) for each in (self.accepted, self.rejected, self.not_made)) + len(self.lost)


@dataclass(frozen=True, slots=True)
class RoundState:
    """A round as it stands: the latest record of a round is its state. Times are Unix seconds.

    `transition` counts changes of phase; `frozen_in` is the phase where a frozen round goes on; `deadline` is when the phase
    has lasted too long, None where it may last. `reason` is a stable code, `detail` the numbers for a person to read.
    """

    dataset_id: str
    round_id: str
    ordinal: int
    phase: Phase
    begun: RoundStarted
    transition: int
    phase_since: float
    updated_at: float
    deadline: float | None = None
    reason: str = ""
    detail: str = ""
    frozen_in: Phase | None = None
    rows: RowCounts = field(default_factory=RowCounts)
    held_out_rows: RowCounts = field(default_factory=RowCounts)
    densities_made: bool = False
    selected: RowsSelected | None = None
    rewrites: RewriteCounts = field(default_factory=RewriteCounts)
    evicted: int = 0
    committed: RoundCommitted | None = None
    checkpoint: CheckpointMeasures | None = None
    held_out: HeldOutMeasured | None = None
