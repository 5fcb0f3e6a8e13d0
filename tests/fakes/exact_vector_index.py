"""A vector index of plain dictionaries and exact search: what the real ones are measured by."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.core.ports.vector_index import (
    NEAR_EARLIER_MAX,
    Accepted,
    AcceptedPoint,
    Census,
    Earlier,
    PendingPoint,
    Question,
    Space,
    Standing,
    Submission,
    Surroundings,
    Vectors,
)
from headrace.core.rejections import Rejection
from headrace.core.retractions import highest

_Key = tuple[str, int]
"""Sample id and revision."""


@dataclass(slots=True)
class _Space:
    dimensions: int
    pending: dict[Submission, PendingPoint] = field(default_factory=dict)
    settled: dict[Submission, float] = field(default_factory=dict)
    accepted: dict[_Key, AcceptedPoint] = field(default_factory=dict)
    replaced: dict[_Key, tuple[Vectors, float]] = field(default_factory=dict)


class ExactVectorIndex:
    """Everything in memory, nothing approximate. Each method runs without giving way, so it is atomic in its event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._spaces: dict[Space, _Space] = {}
        self._retracted: dict[str, dict[str, int]] = {}
        self._rejected: dict[tuple[str, str, int], str] = {}

    async def enter(self, points: Sequence[PendingPoint]) -> Sequence[str]:
        refusals = []
        for point in points:
            submission = point.submission
            held = self._spaces.setdefault(submission.space, _Space(len(point.vectors.prompt)))
            refusal = _misfit(held.dimensions, point.vectors)
            if not refusal and submission not in held.settled:
                held.pending.setdefault(submission, point)
            refusals.append(refusal)
        return refusals

    async def look(self, questions: Sequence[Question]) -> Sequence[Surroundings]:
        return [self._look(question) for question in questions]

    async def pending(self, dataset_id: str, orders: Collection[int]) -> frozenset[int]:
        wanted = set(orders)
        return frozenset(
            submission.order for held in self._of(dataset_id) for submission in held.pending if submission.order in wanted
        )

    async def accept(self, submissions: Sequence[Submission]) -> Sequence[Vectors | None]:
        return [self._accept(submission) for submission in submissions]

    async def release(self, submissions: Sequence[Submission]) -> None:
        for submission in submissions:
            self._settle(submission)

    async def reject(self, dataset_id: str, rejections: Sequence[Rejection]) -> None:
        for each in rejections:
            self._rejected.setdefault((dataset_id, each.sample_id, each.revision), each.content_hash)

    async def retract(self, dataset_id: str, rules: Sequence[tuple[str, int]]) -> None:
        reach = self._retracted.get(dataset_id, {})
        reach = self._retracted[dataset_id] = highest([*reach.items(), *rules])
        for held in self._of(dataset_id):
            for sample_id, revision in [key for key in held.accepted if key[1] <= reach.get(key[0], -1)]:
                del held.accepted[sample_id, revision]

    async def retracted(self, samples: Mapping[str, Collection[str]]) -> Mapping[str, Mapping[str, int]]:
        return {
            dataset_id: {each: reach[each] for each in sample_ids if each in reach}
            for dataset_id, sample_ids in samples.items()
            if (reach := self._retracted.get(dataset_id))
        }

    async def sweep(self, *, settled_before: float, entered_before: float) -> int:
        gone = 0
        for held in self._spaces.values():
            held.settled = {key: at for key, at in held.settled.items() if at >= settled_before}
            held.replaced = {key: kept for key, kept in held.replaced.items() if kept[1] >= settled_before}
            stale = [key for key, point in held.pending.items() if point.entered_at < entered_before]
            for key in stale:
                del held.pending[key]
            gone += len(stale)
        return gone

    async def load(self, points: Sequence[AcceptedPoint]) -> Sequence[bool]:
        stands = []
        for point in points:
            held = self._spaces.setdefault(point.space, _Space(len(point.vectors.prompt)))
            refusal = _misfit(held.dimensions, point.vectors)
            if refusal:
                raise ValueError(refusal)
            key = (point.sample_id, point.revision)
            stands.append(self._stands(point))
            if stands[-1] and key not in held.replaced:
                held.accepted.setdefault(key, point)
        return stands

    async def clear(self, space: Space) -> None:
        if space in self._spaces:
            self._spaces[space].accepted.clear()
            self._spaces[space].replaced.clear()

    async def census(self) -> Sequence[Census]:
        return [
            Census(
                space,
                held.dimensions,
                len(held.accepted),
                len(held.pending),
                min((point.entered_at for point in held.pending.values()), default=None),
            )
            for space, held in self._spaces.items()
        ]

    async def ping(self) -> None:
        """Nothing to reach."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def _rejected_under(self, submission: Submission) -> str | None:
        return self._rejected.get((submission.space.dataset_id, submission.sample_id, submission.revision))

    def _stands(self, point: AcceptedPoint) -> bool:
        """Whether neither a retraction nor an accepted later revision speaks against it."""
        later = [key for held in self._of(point.space.dataset_id) for key in held.accepted if key[0] == point.sample_id]
        reach = self._retracted.get(point.space.dataset_id, {})
        return point.revision > reach.get(point.sample_id, -1) and all(point.revision >= revision for _, revision in later)

    def _of(self, dataset_id: str) -> list[_Space]:
        return [held for space, held in self._spaces.items() if space.dataset_id == dataset_id]

    def _settle(self, submission: Submission) -> None:
        held = self._spaces.get(submission.space)
        if held is not None:
            held.pending.pop(submission, None)
            held.settled.setdefault(submission, self._clock())

    def _accept(self, submission: Submission) -> Vectors | None:
        held = self._spaces.get(submission.space)
        if held is None:
            return None
        key = (submission.sample_id, submission.revision)
        pending = held.pending.get(submission)
        if pending is not None and key not in held.accepted and key not in held.replaced:
            held.accepted[key] = AcceptedPoint(submission.space, *key, pending.content, pending.vectors)
        vectors = pending.vectors if pending is not None else self._vectors_of(held, key)
        if vectors is None:
            return None
        for other in self._of(submission.space.dataset_id):
            for sample_id, revision in list(other.accepted):
                if sample_id == submission.sample_id and revision < submission.revision:
                    left = other.accepted.pop((sample_id, revision))
                    other.replaced[sample_id, revision] = (left.vectors, self._clock())
        self._settle(submission)
        return vectors

    @staticmethod
    def _vectors_of(held: _Space, key: _Key) -> Vectors | None:
        if key in held.accepted:
            return held.accepted[key].vectors
        return held.replaced[key][0] if key in held.replaced else None

    def _look(self, question: Question) -> Surroundings:
        submission = question.submission
        held = self._spaces.get(submission.space, _Space(len(question.vectors.prompt)))
        everywhere = self._of(submission.space.dataset_id)
        others = [point for point in held.accepted.values() if point.sample_id != submission.sample_id]
        near = _nearest(others, question.vectors.conversation, "conversation", 1)
        is_near = near and question.near_cosine is not None and (near[0].cosine or 0.0) >= question.near_cosine
        rules = self._retracted.get(submission.space.dataset_id, {})
        return Surroundings(
            standing=_standing(held, submission),
            earlier=self._earlier(question, held, everywhere),
            akin=self._akin(question, everywhere),
            near=near[0] if is_near else None,
            neighbours=_nearest(others, question.vectors.prompt, "prompt", question.neighbours),
            prompt_copies=len(
                {
                    sample_id
                    for each in everywhere
                    for (sample_id, _), point in each.accepted.items()
                    if sample_id != submission.sample_id and point.content.prompt_hash == question.content.prompt_hash
                }
            ),
            compared_with=len(held.accepted),
            retracted=rules.get(submission.sample_id),
            parent_retracted=rules.get(question.parent[0]) if question.parent else None,
            rejected=self._rejected_under(submission) if question.rejected else None,
        )

    @staticmethod
    def _earlier(question: Question, held: _Space, everywhere: Iterable[_Space]) -> tuple[Earlier, ...]:
        mine = question.submission
        before = [(other, point) for each in everywhere for other, point in each.pending.items() if other.order < mine.order]
        cosines = {
            other: cosine
            for other, point in before
            if other in held.pending
            and other.sample_id != mine.sample_id
            and (cosine := _near_cosine(question, point)) is not None
        }
        near = set(sorted(cosines, key=lambda other: -cosines[other])[:NEAR_EARLIER_MAX])
        found = [
            Earlier(other.sample_id, other.revision, other.order, point.content, cosines[other] if other in near else None)
            for other, point in before
            if other in near or _is_akin(question, other, point)
        ]
        return tuple(sorted(found, key=lambda each: each.order))

    @staticmethod
    def _akin(question: Question, everywhere: Iterable[_Space]) -> tuple[Accepted, ...]:
        mine = question.submission
        return tuple(
            Accepted(
                point.sample_id,
                point.revision,
                point.content,
                float(point.vectors.conversation @ question.vectors.conversation) if point.space == mine.space else None,
            )
            for each in everywhere
            for point in each.accepted.values()
            if point.sample_id == mine.sample_id or point.content.content_hash == question.content.content_hash
        )


def _misfit(dimensions: int, vectors: Vectors) -> str:
    sizes = {len(vectors.prompt), len(vectors.conversation)}
    return "" if sizes == {dimensions} else f"the vectors have {sorted(sizes)} dimensions, those of their space {dimensions}"


def _standing(held: _Space, submission: Submission) -> Standing:
    if submission in held.pending:
        return Standing.PENDING
    return Standing.SETTLED if submission in held.settled else Standing.UNKNOWN


def _is_akin(question: Question, other: Submission, point: PendingPoint) -> bool:
    return (
        other.sample_id == question.submission.sample_id
        or point.content.content_hash == question.content.content_hash
        or (question.copies_pending and point.content.prompt_hash == question.content.prompt_hash)
    )


def _near_cosine(question: Question, point: PendingPoint) -> float | None:
    if question.near_cosine is None:
        return None
    cosine = float(point.vectors.conversation @ question.vectors.conversation)
    return cosine if cosine >= question.near_cosine else None


def _nearest(points: Sequence[AcceptedPoint], vector: np.ndarray, by: str, limit: int) -> tuple[Accepted, ...]:
    if not points:
        return ()
    cosines = np.stack([getattr(point.vectors, by) for point in points]) @ vector
    best = np.argsort(-cosines, kind="stable")[:limit]
    return tuple(Accepted(points[i].sample_id, points[i].revision, points[i].content, float(cosines[i])) for i in best.tolist())
