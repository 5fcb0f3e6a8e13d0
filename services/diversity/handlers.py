"""Places each sample among those accepted before it, holds it behind similar ones in flight, and settles what was decided.

Why no two near-duplicates are admitted, and why none is lost, is argued in README.md.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headrace.core.dossiers import Dossier, Embeddings, IndexedSample, Placement, ScoredSample, Verdict
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send
from headrace.core.placement import Wait, parent_cosine, place, question_of
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import (
    Content,
    PendingPoint,
    Question,
    Space,
    Standing,
    Submission,
    Surroundings,
    Vector,
    VectorIndex,
    Vectors,
)
from headrace.core.rejections import Rejection, rejection_of
from headrace.core.rounds.restorations import is_restored
from headrace.core.samples import prompt_hash_of
from headrace.core.topics import HELD, INDEXED, PLACED, SCORED
from services.diversity.retractions import parent_of, taken_back

_HELD_AT_EASE = 64
"""So many held samples in one batch are looked at again as soon as may be; with more of them each waits longer."""

_UNIT_TOLERANCE = 1e-5


class UnusableEmbeddings(ValueError):
    """Embeddings that no cosine can be taken of."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often held samples are looked at, and how many of a batch are compared anew."""

    recheck_s: float = 0.25
    looks_max: int = 64


@dataclass(frozen=True, slots=True)
class _Case:
    """One scored sample with what is asked about it."""

    scored: ScoredSample
    policy: Policy
    question: Question


class Diversity:
    """The handlers of one process. All they remember is in the index."""

    def __init__(
        self,
        index: VectorIndex,
        policy_of: Callable[[str], Policy | None],
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._policy_of = policy_of
        self._pace = pace or Pace()
        self._clock = clock

    def delay_s(self, held: int) -> float:
        """How long samples wait before they are looked at again, of which so many were looked at together."""
        return self._pace.recheck_s * max(1.0, held / _HELD_AT_EASE)

    async def place(self, events: Sequence[Event[ScoredSample]]) -> Sequence[Result]:
        """Enter newly scored samples in their order, then place them or hold them.

        A record that comes back through the retry topic has lost its place in the order: once nothing speaks against it
        any more, it is sent to the end of the line.
        """
        cases = [self._case(event.body, event.first_position.offset) for event in events]
        asked = [(n, case) for n, case in enumerate(cases) if isinstance(case, _Case)]
        late = [(n, case) for n, case in asked if events[n].origin is not None]
        fresh = [(n, case) for n, case in asked if events[n].origin is None]
        results: dict[int, Result] = {n: case for n, case in enumerate(cases) if not isinstance(case, _Case)}
        results.update(await self._requeue(late))

        entered, refused = await self._enter(fresh)
        results.update(refused)
        found = await self._index.look([case.question for _, case in entered])
        for (n, case), surroundings in zip(entered, found, strict=True):
            results[n] = self._placed_or_held(case, surroundings, self._pace.recheck_s)
        return [results[n] for n in range(len(events))]

    async def recheck(self, events: Sequence[Event[ScoredSample]]) -> Sequence[Result]:
        """Look at held samples again. Those behind a sample that is still pending need no comparison: nothing has changed.

        A record that comes back through the retry topic may have been released meanwhile: it goes to the end of the line.
        """
        cases = [self._case(event.body, event.body.order) for event in events]
        asked = [(n, case) for n, case in enumerate(cases) if isinstance(case, _Case)]
        results: dict[int, Result] = {n: case for n, case in enumerate(cases) if not isinstance(case, _Case)}
        results.update(await self._requeue([(n, case) for n, case in asked if events[n].origin is not None]))
        held = [(n, case) for n, case in asked if events[n].origin is None]
        delay_s = self.delay_s(len(held))
        in_the_way = await self._still_pending(case for _, case in held)
        waiting = [(n, case) for n, case in held if _behind(case) in in_the_way]
        for n, case in waiting:
            results[n] = self._held_on(case, delay_s)
        # The lowest orders first: whoever has nobody in front of him any more is always among them.
        moved = sorted(
            ((n, case) for n, case in held if _behind(case) not in in_the_way), key=lambda each: each[1].question.submission.order
        )
        looked, postponed = moved[: self._pace.looks_max], moved[self._pace.looks_max :]
        found = await self._index.look([case.question for _, case in looked])
        for (n, case), surroundings in zip(looked, found, strict=True):
            results[n] = self._placed_or_held(case, surroundings, delay_s)
        for n, case in postponed:
            results[n] = self._hold(case.scored, delay_s)
        return [results[n] for n in range(len(events))]

    async def settle(self, events: Sequence[Event[Dossier]]) -> Sequence[Result]:
        """Make accepted samples' points count for good and hand their embeddings on; release those that were rejected.

        The index learns of a rejection before its point goes: whoever waited for the point finds that instead.
        """
        submissions = [_submission_of(event.body) for event in events]
        verdicts = [event.body.decisions[-1].verdict if event.body.decisions else None for event in events]
        accepted = [n for n, verdict in enumerate(verdicts) if verdict is Verdict.ACCEPTED]
        known = [(n, submission) for n in accepted if (submission := submissions[n]) is not None]
        vectors = await self._index.accept([submission for _, submission in known])
        await self._reject([event.body for event in events])
        await self._index.release(
            [each for n, each in enumerate(submissions) if each is not None and verdicts[n] is not Verdict.ACCEPTED]
        )
        results: dict[int, Result] = {n: Emit() for n in range(len(events))}
        results.update({n: Reject("NotInIndex", "accepted, but never entered into the vector index") for n in accepted})
        for (n, submission), found in zip(known, vectors, strict=True):
            results[n] = _indexed(events[n].body, submission.space, found)
        results.update(await taken_back(self._index, [(n, events[n].body) for n in accepted]))
        return [results[n] for n in range(len(events))]

    async def release(self, events: Sequence[Event[Dossier | ScoredSample]]) -> Sequence[Result]:
        """Release the pending points of samples that ended among the dead letters of any service after scoring."""
        submissions = [self._entered_as(event) for event in events]
        await self._index.release([each for each in submissions if each is not None])
        return [Emit() for _ in events]

    def _case(self, scored: ScoredSample, order: int | None) -> _Case | Result:
        sample = scored.dossier.sample
        embeddings = scored.embeddings
        if embeddings is None:  # nothing to place it by: admission parks it, whatever a placement would say
            return Emit((Send(PLACED, replace(scored.dossier, placement=None)),))
        policy = self._policy_of(sample.dataset_id)
        if policy is None:
            return Retry("UnknownDataset", f"dataset {sample.dataset_id} has no policy")
        if order is None:
            return _to_the_end(scored)
        try:
            vectors = Vectors(unit_vector(embeddings.prompt, "prompt"), unit_vector(embeddings.conversation, "conversation"))
        except UnusableEmbeddings as error:
            return Reject("UnusableEmbeddings", str(error))
        space = Space(sample.dataset_id, embeddings.model, embeddings.model_version)
        submission = Submission(space, sample.id, sample.revision, order)
        content = Content(sample.content_hash, prompt_hash_of(sample))
        question = question_of(
            submission, content, vectors, policy, comes_back=is_restored(sample), parent=parent_of(scored.dossier)
        )
        return _Case(scored, policy, question)

    async def _enter(self, cases: Sequence[tuple[int, _Case]]) -> tuple[list[tuple[int, _Case]], dict[int, Result]]:
        """Enters samples; returns those that are in, and what becomes of those that cannot be."""
        now = self._clock()
        points = [PendingPoint(c.question.submission, c.question.content, c.question.vectors, now) for _, c in cases]
        refusals = await self._index.enter(points) if points else ()
        refused: dict[int, Result] = {
            n: Reject("WrongDimensions", why) for (n, _), why in zip(cases, refusals, strict=True) if why
        }
        return [(n, case) for n, case in cases if n not in refused], refused

    async def _requeue(self, late: Sequence[tuple[int, _Case]]) -> dict[int, Result]:
        """Sends records that come back to the end of the line.

        Their old places are entered (they may not have been) and released, which leaves a mark there: a suspended writer that
        wakes up later cannot enter them any more. Whatever is wrong with a record shows here, before it starts over.
        """
        entered, results = await self._enter(late)
        await self._index.release([case.question.submission for _, case in entered])
        results.update({n: _to_the_end(case.scored) for n, case in entered})
        return results

    async def _reject(self, decided: Sequence[Dossier]) -> None:
        rejections: dict[str, list[Rejection]] = defaultdict(list)
        for dossier in decided:
            if (rejection := rejection_of(dossier)) is not None:
                rejections[dossier.sample.dataset_id].append(rejection)
        for dataset_id, mine in rejections.items():
            await self._index.reject(dataset_id, mine)

    async def _still_pending(self, cases: Iterable[_Case]) -> frozenset[tuple[str, int]]:
        orders: dict[str, set[int]] = {}
        for dataset_id, order in map(_behind, cases):
            orders.setdefault(dataset_id, set()).add(order)
        found = {dataset_id: await self._index.pending(dataset_id, wanted) for dataset_id, wanted in orders.items()}
        return frozenset((dataset_id, order) for dataset_id, pending in found.items() for order in pending)

    def _placed_or_held(self, case: _Case, found: Surroundings, delay_s: float) -> Result:
        if found.standing is not Standing.PENDING:
            # Its place in the order is spent: it was released (and redriven), swept, or lost with the index.
            return _to_the_end(case.scored)
        outcome = place(case.question, found, case.policy)
        if isinstance(outcome, Placement):
            dossier = case.scored.dossier
            placed = replace(outcome, parent_cosine=parent_cosine(dossier.rewrite, case.question))
            return Emit((Send(PLACED, replace(dossier, placement=placed)),))
        return self._held_behind(case, outcome, delay_s)

    def _held_behind(self, case: _Case, wait: Wait, delay_s: float) -> Result:
        """Holds a sample. The wait is counted from when the one in front became the first: a line that moves is no dead end."""
        if wait.first.order == case.scored.held_behind:
            return self._held_on(case, delay_s)
        submission = case.question.submission
        now = self._clock()
        held = replace(
            case.scored,
            order=submission.order,
            held_since=now if case.scored.held_since is None else case.scored.held_since,
            held_behind=wait.first.order,
            behind_since=now,
        )
        return self._hold(held, delay_s)

    def _held_on(self, case: _Case, delay_s: float) -> Result:
        now = self._clock()
        waited_s = now - (now if case.scored.behind_since is None else case.scored.behind_since)
        if waited_s > case.policy.diversity.hold_s_max:
            return Reject(
                "HeldTooLong",
                f"waited {waited_s:.1f} s for the decision on the earlier, similar sample of order {case.scored.held_behind}; "
                f"the policy's diversity.hold_s_max is {case.policy.diversity.hold_s_max:g} s",
                parked=True,
            )
        return self._hold(case.scored, delay_s)

    def _hold(self, scored: ScoredSample, delay_s: float) -> Result:
        return Emit((Send(HELD, scored, not_before=self._clock() + delay_s),))

    @staticmethod
    def _entered_as(event: Event[Dossier | ScoredSample]) -> Submission | None:
        body = event.body
        if isinstance(body, Dossier):
            return _submission_of(body)
        order = body.order
        if order is None and event.first_position.topic == SCORED.name:
            order = event.first_position.offset
        if order is None or body.embeddings is None:
            return None
        sample = body.dossier.sample
        space = Space(sample.dataset_id, body.embeddings.model, body.embeddings.model_version)
        return Submission(space, sample.id, sample.revision, order)


def _behind(case: _Case) -> tuple[str, int]:
    behind = case.scored.held_behind
    return case.question.submission.space.dataset_id, -1 if behind is None else behind


def _submission_of(dossier: Dossier) -> Submission | None:
    """The submission that a placed dossier is, None where it was never entered."""
    placement, sample = dossier.placement, dossier.sample
    if placement is None or placement.order is None:
        return None
    space = Space(sample.dataset_id, placement.model, placement.model_version)
    return Submission(space, sample.id, sample.revision, placement.order)


def _to_the_end(scored: ScoredSample) -> Emit:
    return Emit((Send(SCORED, replace(scored, order=None, held_since=None, held_behind=None, behind_since=None)),))


def _indexed(dossier: Dossier, space: Space, vectors: Vectors | None) -> Result:
    sample = dossier.sample
    if vectors is None:
        return Reject(
            "NotInIndex",
            f"accepted, but the vector index holds nothing of {sample.id} revision {sample.revision}: it was released before, "
            "its decision took longer than HEADRACE_DIVERSITY_PENDING_S_MAX, or the index was lost",
        )
    embeddings = Embeddings(
        space.model, space.model_version, vectors.prompt.astype("<f4").tobytes(), vectors.conversation.astype("<f4").tobytes()
    )
    indexed = IndexedSample(
        sample.dataset_id, sample.id, sample.revision, sample.content_hash, embeddings, prompt_hash_of(sample)
    )
    return Emit((Send(INDEXED, indexed),))


def unit_vector(value: bytes, name: str) -> Vector:
    """The bytes as a unit vector; one that is off by more than rounding is scaled.

    Raises:
        UnusableEmbeddings: they are no float32 vector, or one that no cosine can be taken of.
    """
    if not value or len(value) % 4:
        raise UnusableEmbeddings(f"the {name} embedding has {len(value)} bytes, which is no float32 vector")
    vector: Vector = np.frombuffer(value, "<f4")
    wide = vector.astype(np.float64)
    length = math.sqrt(wide.dot(wide))  # np.linalg.norm takes four times as long
    if not math.isfinite(length) or length == 0.0:
        raise UnusableEmbeddings(f"the {name} embedding has the length {length}: no cosine can be taken of it")
    if abs(length - 1.0) > _UNIT_TOLERANCE:
        vector = (vector / np.float32(length)).astype(np.float32)
    return vector
