"""Everything that a round's state depends on: commands and facts, in one order per dataset; and the state itself."""

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.core.rounds.counts import RewriteCounts, RowCounts
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


class Awaited(StrEnum):
    """What a phase waits for; of those with several steps, which one."""

    NOTHING = ""
    ROWS = "rows"
    DENSITIES = "densities"
    SELECTION = "selection"
    PAGE = "page"
    REWRITES = "rewrites"
    GUARDS = "guards"
    EVICTION = "eviction"
    CUT = "cut"
    VERSION = "version"
    CHECKPOINT = "checkpoint"
    HELD_OUT_ROWS = "held_out_rows"
    HELD_OUT_LOSS = "held_out_loss"
    VERDICT = "verdict"


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
    """Begin a round on a version of so many rows, with the model that is to judge it; `started_at` is Unix seconds.

    `checkpoint_id` is what the survey's model version was rolled out from, empty for what the model server began with.
    """

    survey: Survey
    version_sequence: int
    rows: int
    policy_version: str
    rules_json: str
    requested_by: str
    started_at: float
    checkpoint_id: str = ""


@dataclass(frozen=True, slots=True)
class RoundAsked:
    """Someone wants the round to halt, to go on, or to end.

    `dead_letter_id` names the dead letter that asks, where it is none of us: each freezes a round once.
    """

    action: Action
    reason: str
    requested_by: str
    dead_letter_id: str = ""


@dataclass(frozen=True, slots=True)
class RowsSent:
    """A page of a survey is on its way; `complete` with the last one."""

    purpose: Purpose
    rows: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RowsMeasured:
    """Rows are in the survey's table, `not_made` of them without signals; model tokens read, and seconds.

    A row that was sent back from the dead letters is told of by itself, and named in `sent_back` as "sample/revision".
    """

    purpose: Purpose
    rows: int
    not_made: int
    tokens: int = 0
    seconds: float = 0.0
    sent_back: str = ""


@dataclass(frozen=True, slots=True)
class RowLost:
    """A row, or a rewrite, ended among the dead letters of a service.

    A rewrite has no purpose; it is named by its parent's id and the axis that it was made for.
    """

    purpose: Purpose | None
    sample_id: str
    revision: int
    service: str
    error: str
    axis: Axis | None = None


@dataclass(frozen=True, slots=True)
class DensitiesMade:
    """Densities of so many rows are stored."""

    rows: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RowsSelected:
    """The table was scanned. `held_out_loss` is the mean over held-out rows in nats per token, None without any.

    With purpose EVALUATION `held_out_loss_before` is the mean over the same rows in the round's own table, and `held_out_rows`
    are those that have both. `model_written_rows` of the table were generated or refined. `collapsed` are to leave because
    another row has their merge key (mode MIDDO_COMPAT alone).
    """

    purpose: Purpose
    hard: int
    sparse: int
    low_quality: int
    thresholds_json: str
    selection_sha256: str
    held_out_loss: float | None
    held_out_rows: int
    held_out_loss_before: float | None = None
    model_written_rows: int = 0
    collapsed: int = 0

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
    """The way of one rewrite ended, after all its attempts; cost is None where an endpoint does not say.

    `parent_model_written`: the parent was generated or refined, too. Who does not know says False, and guards count on the
    safe side. `adds`: it stands beside its parent, though its axis replaces. `row` is its row of the selection, `detail` what
    the reason alone does not say, for people. What was not begun because its allowance did not suffice says how much it would
    have needed at least: `tokens_needed`, and `money_needed` where prices are known.
    """

    axis: Axis
    parent_id: str
    ending: Ending
    reason: str
    attempts: int
    tokens: int | None = None
    money: float | None = None
    parent_model_written: bool = False
    adds: bool = False
    detail: str = ""
    tokens_needed: int | None = None
    money_needed: float | None = None
    row: int = 0


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
    """A checkpoint trained on dataset version `version` measures under `model_version`; or it was `refused`, and why."""

    checkpoint_id: str
    model_version: str
    refused: str = ""
    version: str = ""


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
class PassedPhase:
    """A phase that the round was in, and since when, Unix seconds; it lasted until the next one began."""

    phase: Phase
    since: float


PASSED_MAX = 100
"""How many passed phases a round remembers: a round that is frozen and resumed for ever must not grow."""


@dataclass(frozen=True, slots=True)
class RoundState:
    """A round as it stands: the latest record of a round is its state. Times are Unix seconds.

    `transition` counts changes of phase, `awaits` says what the phase waits for; `frozen_in` is the phase where a frozen round
    goes on; `deadline` is when the phase has lasted too long, None where it may last. `reason` is a stable code
    (`headrace.core.rounds.reasons`), `detail` the numbers for a person to read. `waived` are reasons for which it froze and was
    told to go on all the same, `dead_letters` those that froze it. `passed` are the phases before this one, `PASSED_MAX` at most.
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
    awaits: Awaited = Awaited.NOTHING
    waived: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    passed: tuple[PassedPhase, ...] = ()

    @property
    def with_this_phase_passed(self) -> tuple[PassedPhase, ...]:
        """`passed` as the next phase will have it."""
        return (*self.passed, PassedPhase(self.phase, self.phase_since))[-PASSED_MAX:]

    @property
    def running(self) -> bool:
        """Whether it has not ended: a frozen round runs, too."""
        return self.phase not in ENDED

    @property
    def working_in(self) -> Phase:
        """The phase, of a frozen round the one in which it froze."""
        return self.frozen_in or self.phase
