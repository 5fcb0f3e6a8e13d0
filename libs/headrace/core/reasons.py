"""Why a sample ended as it did: stable codes that reports, feedback and tests rely on."""

from enum import StrEnum


class Reason(StrEnum):
    """Codes are never renamed or reused; `MEANING` says them in words."""

    ACCEPTED = "accepted"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    ALREADY_ADMITTED = "already_admitted"
    REVISION_CONFLICT = "revision_conflict"
    STALE_REVISION = "stale_revision"
    RETRACTED = "retracted"
    TRUNCATED = "truncated"
    LOSS_TOO_HIGH = "loss_too_high"
    LOSS_TOO_LOW = "loss_too_low"
    QUALITY_TOO_LOW = "quality_too_low"
    TOO_DENSE = "too_dense"
    TOO_SPARSE = "too_sparse"
    CHECK_FAILED = "check_failed"
    CHECKS_REQUESTED = "checks_requested"
    SIGNALS_NOT_MADE = "signals_not_made"
    NOT_PLACED = "not_placed"
    CHECK_NOT_MADE = "check_not_made"
    NOT_BETTER = "not_better"
    MEANING_LOST = "meaning_lost"
    PARENT_NOT_MEASURED = "parent_not_measured"
    RULER_CHANGED = "ruler_changed"
    JUDGED_WORSE = "judged_worse"


MEANING: dict[Reason, str] = {
    Reason.ACCEPTED: "every bound of the policy held",
    Reason.EXACT_DUPLICATE: "an accepted sample has the same content",
    Reason.NEAR_DUPLICATE: "an accepted sample is closer than the policy's near-duplicate cosine",
    Reason.ALREADY_ADMITTED: "this id and revision was admitted before, with the same content",
    Reason.REVISION_CONFLICT: "this id and revision was decided before, with other content",
    Reason.STALE_REVISION: "a later revision of this id was admitted before",
    Reason.RETRACTED: "this revision of the sample, or a later one, was retracted, or the one that it rewords",
    Reason.TRUNCATED: "the conversation is longer than the model can read",
    Reason.LOSS_TOO_HIGH: "the response loss is above the policy's bound",
    Reason.LOSS_TOO_LOW: "the response loss is below the policy's bound: the model has mastered it",
    Reason.QUALITY_TOO_LOW: "the quality, as the model itself judges it, is below the policy's standing threshold",
    Reason.TOO_DENSE: "the neighbourhood is denser than the policy's bound",
    Reason.TOO_SPARSE: "the neighbourhood is sparser than the policy's bound",
    Reason.CHECK_FAILED: "a required check failed",
    Reason.CHECKS_REQUESTED: "the policy asks for checks before the decision",
    Reason.SIGNALS_NOT_MADE: "the model's signals could not be made",
    Reason.NOT_PLACED: "its place among the accepted samples could not be measured",
    Reason.CHECK_NOT_MADE: "a required check could not be made",
    Reason.NOT_BETTER: "the rewrite does not beat its parent on the axis that it was made for",
    Reason.MEANING_LOST: "the rewrite's prompt is too far from its parent's",
    Reason.PARENT_NOT_MEASURED: "rewrite and parent were not measured by the same model version",
    Reason.RULER_CHANGED: "the judge's ruler is another one by now than that of the number to compare with",
    Reason.JUDGED_WORSE: "the endpoint that gives a second opinion judges the rewrite worse than its parent",
}
