"""What is told of a round: commands and facts, in one order per dataset. Its state (`state.py`) depends on nothing else."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.core.budgets import Spend
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import Purpose, Survey


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
    `roles_spent` is the cost by role, of those that were called or are limited: of a role that is not there nobody knows.
    `roles_needed` is what would have been needed in the roles that are limited.
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
    roles_spent: tuple[Spend, ...] = ()
    roles_needed: tuple[Spend, ...] = ()

    @property
    def spent(self) -> tuple[Spend, ...]:
        """The cost in all, and by role."""
        return (Spend(self.tokens, self.money), *self.roles_spent)


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
