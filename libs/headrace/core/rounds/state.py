"""Where a round stands: its phase, its counts, and what it waits for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.core.rounds.counts import RewriteCounts, RowCounts
from headrace.core.rounds.facts import CheckpointMeasures, RoundCommitted, RoundStarted, RowsSelected


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
