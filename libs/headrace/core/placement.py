"""Where a sample lies among those before it, or whom it has to wait for: pure, from what the index says."""

import math
from dataclasses import dataclass

import numpy as np

from headrace.core.dossiers import DuplicateKind, Neighbour, Placement, Rewrite
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import Accepted, Content, Earlier, Question, Submission, Surroundings, Vectors

_LIKENESSES = frozenset({DuplicateKind.EXACT, DuplicateKind.NEAR})
"""What a sample is called for another one's sake."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The sample may go on once these have ended, lowest order first; the first one is never empty."""

    behind: tuple[Earlier, ...]

    @property
    def first(self) -> Earlier:
        return self.behind[0]


def question_of(
    submission: Submission,
    content: Content,
    vectors: Vectors,
    policy: Policy,
    *,
    comes_back: bool = False,
    parent: tuple[str, int] | None = None,
) -> Question:
    """What has to be asked about a submission under a policy.

    One that `comes_back` was there before: neither near-duplicates nor a quota of its prompt stand against it. A rewrite says
    which sample, id and revision, is its `parent`. Neither is held to the content that a client was turned away with.
    """
    bounds = policy.diversity
    return Question(
        submission,
        content,
        vectors,
        near_cosine=None if comes_back else bounds.near_duplicate_cosine,
        neighbours=bounds.neighbours,
        copies_pending=policy.prompt_copies_max() is not None and not comes_back,
        parent=parent,
        rejected=parent is None and not comes_back,
    )


def place(question: Question, found: Surroundings, policy: Policy) -> Placement | Wait:
    """Place a submission, or say whom it waits for.

    What cannot change any more is said at once: a submission that was retracted or rewords what was, that repeats or comes
    behind an accepted revision of the same sample, has the id and revision of other content that was rejected, or is a
    duplicate of an accepted sample, will be turned away whatever becomes of those in flight. Otherwise it waits for every
    submission of a lower order that could make it a duplicate if accepted; a duplicate for those with other content under its id
    and revision, which are theirs if they are decided. Waiting goes to lower orders only, so there is always one that waits
    for nobody.
    """
    kind, twin = _duplicate(question, found)
    behind: tuple[Earlier, ...] = ()
    if kind is DuplicateKind.NONE:
        behind = _in_the_way(question, found, policy.prompt_copies_max() if question.copies_pending else None)
    elif kind in _LIKENESSES:
        behind = _with_prior_claim(question, found)
    if behind:
        return Wait(behind)
    neighbours = tuple(_neighbour(each) for each in found.neighbours)
    return Placement(
        duplicate_kind=kind,
        duplicate_of=twin,
        neighbours=neighbours,
        density=_density(neighbours, policy.diversity.neighbours),
        prompt_copies=found.prompt_copies,
        model=question.submission.space.model,
        model_version=question.submission.space.model_version,
        compared_with=found.compared_with,
        order=question.submission.order,
    )


def parent_cosine(rewrite: Rewrite | None, question: Question) -> float | None:
    """The cosine of a rewrite's prompt to its parent's.

    None for other samples, and where the two embeddings cannot be compared: they are of different models or model versions, or
    the parent's is no vector of that many finite numbers, not all zero.
    """
    space = question.submission.space
    if rewrite is None or (rewrite.model, rewrite.model_version) != (space.model, space.model_version):
        return None
    mine = question.vectors.prompt
    if len(rewrite.parent_embedding) != 4 * len(mine):
        return None
    parents = np.frombuffer(rewrite.parent_embedding, "<f4").astype(np.float64)
    length = float(np.linalg.norm(parents))
    if not 0.0 < length < math.inf:
        return None
    return _clipped(float(mine.astype(np.float64) @ parents) / length)


def _duplicate(question: Question, found: Surroundings) -> tuple[DuplicateKind, Neighbour | None]:
    mine = question.submission
    if found.retracted is not None and mine.revision <= found.retracted:
        return DuplicateKind.RETRACTED, Neighbour(mine.sample_id, found.retracted, 0.0)
    if question.parent is not None and found.parent_retracted is not None and question.parent[1] <= found.parent_retracted:
        return DuplicateKind.RETRACTED, Neighbour(question.parent[0], found.parent_retracted, 0.0)
    own = [each for each in found.akin if each.sample_id == mine.sample_id]
    for each in own:
        if each.revision == mine.revision:
            same = each.content.content_hash == question.content.content_hash
            return DuplicateKind.ALREADY_ADMITTED if same else DuplicateKind.REVISION_CONFLICT, _twin(each, same=same)
    later = max((each for each in own if each.revision > mine.revision), key=lambda each: each.revision, default=None)
    if later is not None:
        same = later.content.content_hash == question.content.content_hash
        return DuplicateKind.STALE_REVISION, _twin(later, same=same)
    if found.rejected is not None and found.rejected != question.content.content_hash:
        return DuplicateKind.REVISION_CONFLICT, Neighbour(mine.sample_id, mine.revision, 0.0)
    exact = next((each for each in found.akin if each.sample_id != mine.sample_id), None)
    if exact is not None:
        return DuplicateKind.EXACT, _twin(exact, same=True)
    if found.near is not None:
        return DuplicateKind.NEAR, _neighbour(found.near)
    return DuplicateKind.NONE, None


def _in_the_way(question: Question, found: Surroundings, copies_max: int | None) -> tuple[Earlier, ...]:
    """Those of lower orders that could yet make this one a duplicate, lowest order first."""
    mine = question.submission
    copies = [
        each
        for each in found.earlier
        if each.sample_id != mine.sample_id and each.content.prompt_hash == question.content.prompt_hash
    ]
    quota_at_stake = copies_max is not None and found.prompt_copies < copies_max <= found.prompt_copies + len(copies)
    behind = {each.order: each for each in copies} if quota_at_stake else {}
    for each in found.earlier:
        if (
            each.sample_id == mine.sample_id
            or each.content.content_hash == question.content.content_hash
            or each.cosine is not None
        ):
            behind[each.order] = each
    return tuple(behind[order] for order in sorted(behind))


def _with_prior_claim(question: Question, found: Surroundings) -> tuple[Earlier, ...]:
    """Those of lower orders that other content was sent with under the same id and revision, lowest order first."""
    mine = question.submission
    if not question.rejected:
        return ()
    prior = [
        each
        for each in found.earlier
        if (each.sample_id, each.revision) == (mine.sample_id, mine.revision)
        and each.content.content_hash != question.content.content_hash
    ]
    return tuple(sorted(prior, key=lambda each: each.order))


def _density(neighbours: tuple[Neighbour, ...], k: int) -> float | None:
    if len(neighbours) < k:
        return None
    return sum(each.cosine for each in neighbours[:k]) / k


def _neighbour(accepted: Accepted) -> Neighbour:
    return Neighbour(accepted.sample_id, accepted.revision, _clipped(accepted.cosine or 0.0))


def _twin(accepted: Accepted, *, same: bool) -> Neighbour:
    """Equal contents have the cosine 1; another revision seen under another model has none that could be measured: 0."""
    return Neighbour(accepted.sample_id, accepted.revision, 1.0 if same else _clipped(accepted.cosine or 0.0))


def _clipped(cosine: float) -> float:
    return min(1.0, max(-1.0, cosine))
