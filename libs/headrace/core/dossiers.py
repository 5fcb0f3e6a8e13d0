"""The evidence that travels with a sample: each service adds its page."""

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.core.budgets import Spend
from headrace.core.samples import Sample

CURRENT = "current"
BASE = "base"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model, as its own judge, thinks of a sample: six scores from 0 to 10, higher is better.

    `mode` is "logits" (expectations over the score tokens) or "generated" (numbers read from generated text), `ruler_hash` the
    SHA-256 of the judge's prompts and decoding. Where `error` is set the scores were *not made* and are None.
    """

    mode: str
    ruler_hash: str
    prompt_factuality: float | None = None
    prompt_clarity: float | None = None
    prompt_completeness: float | None = None
    response_factuality: float | None = None
    response_clarity: float | None = None
    response_completeness: float | None = None
    error: str = ""

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The six scores, those of the prompt first."""
        return tuple(getattr(self, name) for name in JUDGED)

    @property
    def quality(self) -> float | None:
        """The mean of the six scores (Middo: of three means of pairs, which is the same); None where any was not made."""
        made = [score for score in self.scores if score is not None]
        return sum(made) / len(JUDGED) if len(made) == len(JUDGED) and not self.error else None


JUDGED = (
    "prompt_factuality", "prompt_clarity", "prompt_completeness",
    "response_factuality", "response_clarity", "response_completeness",
)  # fmt: skip
"""The six scores of a judgement, in their order."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What one model version says about a sample; losses in nats per token.

    `loss_mean` is the mean cross-entropy over response tokens (prompt masked), `loss_std` its population standard
    deviation. Where `error` is set the signals were *not made* and the losses are None, never a number.
    """

    role: str
    model: str
    model_version: str
    loss_mean: float | None
    loss_std: float | None
    prompt_tokens: int
    response_tokens: int
    truncated: bool = False
    error: str = ""
    judgement: Judgement | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Mean-pooled last hidden states, float32 little-endian bytes of unit length, of one model version.

    `prompt` is pooled over the prompt's tokens and serves density; `conversation` over all tokens and serves
    near-duplicates (two answers to one question are not duplicates of each other).
    """

    model: str
    model_version: str
    prompt: bytes
    conversation: bytes


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A sample in the index and its cosine similarity, -1 to 1."""

    sample_id: str
    revision: int
    cosine: float


class DuplicateKind(StrEnum):
    """Why a sample counts as being there already; NONE where it does not."""

    NONE = ""
    EXACT = "exact"
    NEAR = "near"
    ALREADY_ADMITTED = "already_admitted"
    REVISION_CONFLICT = "revision_conflict"
    STALE_REVISION = "stale_revision"
    RETRACTED = "retracted"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sample lies among those accepted before it.

    `density` is the mean of the top-k prompt cosines, None while fewer than k samples are accepted. `prompt_copies`
    counts accepted samples with the same prompt, this one's own revisions apart. `compared_with` counts accepted samples.
    `order` (the offset that entered the sample into the index) names its pending point, so that whoever ends the sample's
    way can release exactly that one; None when it was not entered. `parent_cosine` is that of a rewrite's prompt to its
    parent's, None for other samples.
    """

    duplicate_kind: DuplicateKind
    duplicate_of: Neighbour | None
    neighbours: tuple[Neighbour, ...]
    density: float | None
    prompt_copies: int
    model: str
    model_version: str
    compared_with: int
    order: int | None = None
    parent_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What the rules of a round ask of its rewrites, as they stood when it began: a policy applied meanwhile is for the next one.

    `mode` and `unmended` are those of the policy's `rounds`; `judge` is the survey's, empty where nothing is judged.
    `judge_rewrites`: an endpoint judges rewrite and parent, and the rewrite must not be the worse.
    """

    mode: str
    judge: str
    meaning_cosine_min: float
    unmended: str
    judge_rewrites: bool = False


@dataclass(frozen=True, slots=True)
class EndpointJudgement:
    """What a generating model in the role "judge" thinks of a rewrite and of its parent, each asked by itself in the same words.

    Qualities are means of six scores from 0 to 10, those of `Judgement`; higher is better. `quality` is the rewrite's own, None
    until this attempt is judged. `model` is the endpoint's name for it, as settings tell, `recipe` the prompt that asked.
    """

    parent_quality: float
    quality: float | None
    model: str
    recipe: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Carried by a rewrite from refinement to its end: why it was made, and what it has to beat.

    `attempt` counts from 1, `round_ordinal` too. The parent's numbers are those of the round's survey under `model_version`,
    None where they were not made; `bound` is the threshold that the parent is on the wrong side of. `parent_embedding` is
    the parent's prompt embedding, float32 little-endian of unit length. `hints` are the prompts of its nearest neighbours,
    on axis "sparse" only. `tokens_allowed` and `money_allowed` limit what this and all later attempts may still spend. `spent`
    is what the attempts before it cost. `ruler_hash` is that of the judgement that `parent_quality` comes from, empty where it
    is not known. A rewrite that `adds` stands beside its parent, though its axis replaces. `row` is its row of the round's
    selection. `gate` is what the round asks of it, None from an earlier release. `sent_back`: one of its records was among the
    dead letters, so its round may have counted it as lost. `judged` is the second opinion, None where none was asked for; the
    parent's number in it goes on to later attempts. `roles_allowed` limits single roles beside all together. `roles_spent`
    is the cost by role, of roles that were called or are limited; refinement adds this attempt's.
    """

    round_id: str
    round_ordinal: int
    axis: str
    attempt: int
    attempts_max: int
    parent: Sample
    bound: float
    model: str
    model_version: str
    parent_embedding: bytes
    parent_loss: float | None = None
    parent_density: float | None = None
    parent_quality: float | None = None
    hints: tuple[str, ...] = ()
    tokens_allowed: int | None = None
    money_allowed: float | None = None
    previous_failure: str = ""
    spent: "tuple[Cost, ...]" = ()
    ruler_hash: str = ""
    adds: bool = False
    row: int = 0
    gate: Gate | None = None
    sent_back: bool = False
    judged: EndpointJudgement | None = None
    roles_allowed: tuple[Spend, ...] = ()
    roles_spent: tuple[Spend, ...] = ()


class CheckOutcome(StrEnum):
    """Three outcomes, not two: NOT_MADE is never a failure of the sample and never a score."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MADE = "not_made"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's outcome, with the evidence a person would want to read and the hash of the ruler that measured."""

    check: str
    outcome: CheckOutcome
    evidence: str
    ruler_hash: str
    score: float | None = None


class Verdict(StrEnum):
    """What admission decided. VALIDATE asks for checks first; PARKED means that no decision can be made."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    VALIDATE = "validate"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number held against one bound of the policy, so that a decision can be read and replayed."""

    quantity: str
    value: float | None
    operator: str
    bound: float
    held: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, its stable reason code, and the numbers compared, under a named policy version.

    `checks_requested` goes with VALIDATE; a check requested without a result did not apply to the sample.
    """

    verdict: Verdict
    reason: str
    policy_version: str
    comparisons: tuple[Comparison, ...] = ()
    detail: str = ""
    checks_requested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one stage spent on the sample; unknown is None, never zero."""

    stage: str
    seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    money: float | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Dossier:
    """A sample and the evidence gathered so far.

    `submitted_at` is Unix time in seconds. `rewrite` is set on rewrites. `wire` is the message this was decoded from, or
    None: it is carried so that fields of a newer schema survive a service that does not know them, and takes no part in
    comparison.
    """

    sample: Sample
    submitted_at: float
    signals: tuple[Signals, ...] = ()
    placement: Placement | None = None
    checks: tuple[CheckResult, ...] = ()
    decisions: tuple[Decision, ...] = ()
    costs: tuple[Cost, ...] = ()
    rewrite: Rewrite | None = None
    wire: object = field(default=None, compare=False, repr=False)

    def signals_of(self, role: str) -> Signals | None:
        """The signals under the model in that role (`CURRENT` or `BASE`), or None."""
        return next((signals for signals in self.signals if signals.role == role), None)


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """A dossier with its embeddings, from scoring to diversity.

    `embeddings` is None when the signals were not made. While the sample waits for the decision on earlier ones that it
    resembles, `order` is the offset that entered it into the index, `held_since` (Unix seconds) when it was first put on
    hold, `held_behind` the order of the first of those it waits for, and `behind_since` when that became the first.
    """

    dossier: Dossier
    embeddings: Embeddings | None
    held_since: float | None = None
    order: int | None = None
    held_behind: int | None = None
    behind_since: float | None = None
    wire: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class IndexedSample:
    """An accepted sample's embeddings, from diversity to datasets.

    `prompt_hash` is `prompt_hash_of` the sample: with it the index can be rebuilt from these records alone.
    """

    dataset_id: str
    sample_id: str
    revision: int
    content_hash: str
    embeddings: Embeddings
    prompt_hash: str = ""


@dataclass(frozen=True, slots=True)
class Retraction:
    """The sample's revisions up to and including this one are accepted no longer; a higher one stands."""

    dataset_id: str
    sample_id: str
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class AcceptedSample:
    """One record of a dataset's accepted topic: an acceptance (also of a later revision) or a retraction."""

    change: Dossier | Retraction


@dataclass(frozen=True, slots=True)
class PolicyPublished:
    """A dataset's standing policy as canonical JSON; `version` is the first 12 hex digits of its SHA-256."""

    dataset_id: str
    version: str
    policy_json: str
    published_at: float


@dataclass(frozen=True, slots=True)
class DatasetCutRequested:
    """Ask for a new version of a dataset from everything decided so far."""

    dataset_id: str
    request_id: str
    requested_by: str


@dataclass(frozen=True, slots=True)
class DatasetCommitted:
    """A version exists: its manifest is stored and the reference points at it. `request_id` names the request that it answers."""

    dataset_id: str
    version: str
    sequence: int
    manifest_key: str
    rows_accepted: int
    rows_rejected: int
    committed_at: float
    request_id: str = ""
