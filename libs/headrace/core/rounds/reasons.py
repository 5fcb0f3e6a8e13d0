"""Why a round ended, stopped or froze: stable codes that reports, scripts and tests rely on."""

from enum import StrEnum


class RoundReason(StrEnum):
    """Codes are never renamed or reused; `ROUND_MEANING` says them in words."""

    HELD_OUT_HELD = "held_out_held"
    NOT_TRAINED = "not_trained"
    NOTHING_HELD_OUT = "nothing_held_out"
    HELD_OUT_ROSE = "held_out_rose"
    ANOTHER_ROUND_RUNS = "another_round_runs"
    BAD_RULES = "bad_rules"
    NO_ROWS = "no_rows"
    NOTHING_MEASURED = "nothing_measured"
    NOTHING_SELECTED = "nothing_selected"
    SELECTED_SHARE_SMALL = "selected_share_small"
    NOTHING_ACCEPTED = "nothing_accepted"
    BUDGET_SPENT = "budget_spent"
    CHECKPOINT_REFUSED = "checkpoint_refused"
    TOO_MANY_LOST = "too_many_lost"
    ABORTED = "aborted"
    DEADLINE_SURVEYING = "deadline_surveying"
    DEADLINE_THRESHOLDS = "deadline_thresholds"
    DEADLINE_COMMITTING = "deadline_committing"
    DEADLINE_TRAINING = "deadline_training"
    DEADLINE_EVALUATING = "deadline_evaluating"
    DEADLINE_REVERTING = "deadline_reverting"
    ROWS_NOT_BACK = "rows_not_back"
    ASKED = "asked"
    STEP_FAILED = "step_failed"
    ROWS_LOST = "rows_lost"
    MODEL_WRITTEN_SHARE = "model_written_share"
    HUMAN_ROWS = "human_rows"
    NEAR_DUPLICATE_SHARE = "near_duplicate_share"
    HELD_OUT_LOSS = "held_out_loss"


ROUND_MEANING: dict[RoundReason, str] = {
    RoundReason.HELD_OUT_HELD: "kept: the held-out loss did not rise by more than the policy tolerates",
    RoundReason.NOT_TRAINED: "kept unjudged: the policy asks for no training (rounds.train)",
    RoundReason.NOTHING_HELD_OUT: "kept unjudged: no prompt is held out of training, so there is nothing to measure by",
    RoundReason.HELD_OUT_ROSE: "rolled back: the held-out loss rose by more than the policy tolerates",
    RoundReason.ANOTHER_ROUND_RUNS: "not begun: another round of the dataset has not ended",
    RoundReason.BAD_RULES: "not begun: its section of the policy cannot be read",
    RoundReason.NO_ROWS: "stopped: the version has no accepted rows",
    RoundReason.NOTHING_MEASURED: "stopped: no row could be measured",
    RoundReason.NOTHING_SELECTED: "stopped: no row lies beyond any threshold",
    RoundReason.SELECTED_SHARE_SMALL: "stopped: fewer rows lie beyond the thresholds than the policy asks for",
    RoundReason.NOTHING_ACCEPTED: "stopped: no rewrite was accepted, so there is nothing to commit",
    RoundReason.BUDGET_SPENT: "stopped: the budget paid for no further rewrite before any was accepted",
    RoundReason.CHECKPOINT_REFUSED: "stopped: the checkpoint trained on the new version was refused",
    RoundReason.TOO_MANY_LOST: "stopped: more rows ended among the dead letters than a round can name",
    RoundReason.ABORTED: "stopped: someone asked for it",
    RoundReason.DEADLINE_SURVEYING: "stopped: the survey took longer than the policy allows",
    RoundReason.DEADLINE_THRESHOLDS: "stopped: thresholds and selection took longer than the policy allows",
    RoundReason.DEADLINE_COMMITTING: "stopped: the new version took longer than the policy allows",
    RoundReason.DEADLINE_TRAINING: "stopped: no checkpoint trained on the new version came in the time that the policy allows",
    RoundReason.DEADLINE_EVALUATING: "stopped: the evaluation took longer than the policy allows",
    RoundReason.DEADLINE_REVERTING: "frozen: undoing the round took longer than the policy allows",
    RoundReason.ROWS_NOT_BACK: "frozen: rows that the round had changed are among the dead letters instead of back",
    RoundReason.ASKED: "frozen: someone asked for it",
    RoundReason.STEP_FAILED: "frozen: a step of the round ended among the dead letters",
    RoundReason.ROWS_LOST: "frozen: more rows ended among the dead letters than the policy allows",
    RoundReason.MODEL_WRITTEN_SHARE: "frozen: models would have written more of the new version than the policy allows",
    RoundReason.HUMAN_ROWS: "frozen: fewer rows written by people would be left than the policy asks for",
    RoundReason.NEAR_DUPLICATE_SHARE: "frozen: more of the rewrites were near-duplicates than the policy allows",
    RoundReason.HELD_OUT_LOSS: "frozen: the held-out loss is higher than the policy allows, however little it rose",
}
