"""Everything that a round's state depends on: commands and facts, in one order per dataset; and the state itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.core.rounds.counts import RewriteCounts, RowCounts
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import Purpose, Survey


class Phase(StrEnum):
    """Where a round stands; those that `ENDED` names it leaves for REVERTING alone. A frozen one waits for a person."""

    PLANNED = "planned"
    SURVEYING = "surveying"
    THRESHOLDS = "thresholds"
    REFINING = "refining"
    VALIDATING = "validating"
    COMMITTING = "committing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    REVERTING = "reverting"
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
    STANDING = "standing_version"
    RESTORED = "rows_back"


ENDED = frozenset({Phase.KEPT, Phase.ROLLED_BACK, Phase.STOPPED})


class Action(StrEnum):
    """What someone may ask of a round that runs; REVERT, an end that undoes it, also of one that stopped or was rolled back."""

    FREEZE = "freeze"
    RESUME = "resume"
    ABORT = "abort"
    REVERT = "revert"


class Cut(StrEnum):
    """Versions that a round asks for: what it made; what stands while it is undone; what its undoing came to."""

    MADE = ""
    STANDING = "standing"
    REVERTED = "reverted"


class Ending(StrEnum):
    """How the way of one rewrite ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_MADE = "not_made"


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """Begin a round on a version of so many rows, with the model that is to judge it; `started_at` is Unix seconds.

    `checkpoint_id` is what the survey's model version was rolled out from, empty for what the model server began with.
    `trained_otherwise` says why that is not the model that was trained on the version, where someone began the round all the
    same (`headrace.core.rounds.binding`); else it is empty.
    """

    survey: Survey
    version_sequence: int
    rows: int
    policy_version: str
    rules_json: str
    requested_by: str
    started_at: float
    checkpoint_id: str = ""
    trained_otherwise: str = ""


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

    A rewrite has no purpose, and is named by its parent's id and its axis. A row that was to come back has neither of the two.
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

    `parent_model_written`: the parent was generated or refined, too; False where nobody knows, so guards count on the safe side.
    `adds`: it stands beside its parent, though its axis replaces. `row` is its row of the selection, `detail` what the reason
    alone does not say, for people. What was not begun because its allowance did not suffice says what it would have needed at
    least: `tokens_needed`, and `money_needed` where prices are known. `sent_back`: it was among the dead letters on its way.
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
    sent_back: bool = False


@dataclass(frozen=True, slots=True)
class RowsEvicted:
    """So many redundant rows were asked to leave."""

    rows: int


@dataclass(frozen=True, slots=True)
class RoundCommitted:
    """A version that the round asked for exists; `cut` says which of them: what it made, or one of those of its undoing."""

    version: str
    version_sequence: int
    rows_accepted: int
    cut: Cut = Cut.MADE


@dataclass(frozen=True, slots=True)
class RowsReverted:
    """A page of what is undone: rows on their way back, and rows that the round added and that were asked to leave."""

    restoring: int
    retracted: int
    complete: bool


@dataclass(frozen=True, slots=True)
class RestorationEnded:
    """The way of a row that was to come back ended; where it was turned away, `reason` says why somebody else's stands."""

    sample_id: str
    revision: int
    accepted: bool
    reason: str


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
    | RewriteEnded | RowsEvicted | RoundCommitted | CheckpointMeasures | DeadlinePassed | RowsReverted | RestorationEnded
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
class RevertCounts:
    """How far a round's undoing is; `ending`, `reason` and `detail` are how the round ends when it is done.

    `evicting`: a step that takes rows out was under way when it began. `standing` is the version that is compared with the one
    surveyed, in which `found` rows are not what they were; `version` is cut at the end where rows are lost. Of `restoring` rows
    on their way back `restored` stand again; `refused` counts those that were turned away, by reason, since somebody else had a
    say; `lost` are among the dead letters, as "sample/revision", and `returned` came back from there. `retracted` rows, which the
    round had added, were asked to leave.
    """

    ending: Phase
    reason: str
    detail: str
    evicting: bool = False
    standing: RoundCommitted | None = None
    version: RoundCommitted | None = None
    restoring: int = 0
    retracted: int = 0
    found: int = 0
    all_found: bool = False
    restored: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()

    @property
    def under_way(self) -> int:
        """Rows that are on their way back."""
        return max(0, self.restoring - self.restored - sum(self.refused.values()) - len(self.lost))


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
    `revert` is None where the round was not undone.
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
    revert: RevertCounts | None = None

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
