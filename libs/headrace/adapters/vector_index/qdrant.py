"""The vector index on Qdrant collections, whether behind a server or in process.

Each space has two collections: one for what is in flight (pending), one for what is accepted. They are looked at in that
order, and a point enters the second before it leaves the first, so none is overlooked on its way, whatever the engine's
segments do. The pending ones stay few, so searching them is exact in practice, and the graph of the accepted ones is not
churned by samples that are turned away. A settled submission leaves a mark under its point's id: entering adds only what is
not there, which makes late writers harmless.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from headrace.adapters.vector_index.engine import Engine, Point
from headrace.adapters.vector_index.looking import accepted_size, look
from headrace.adapters.vector_index.points import (
    LABEL_ID,
    Collections,
    accepted_id,
    accepted_point,
    landed_point,
    mark,
    milliseconds,
    misfit,
    pending_id,
    pending_point,
    replaced_id,
    vectors_of,
)
from headrace.adapters.vector_index.rejected import RejectedContents
from headrace.adapters.vector_index.retracted import RetractedSamples
from headrace.core.ports.vector_index import (
    AcceptedPoint,
    Census,
    PendingPoint,
    Question,
    Space,
    Submission,
    Surroundings,
    Vectors,
)
from headrace.core.rejections import Rejection
from headrace.core.retractions import highest, is_retracted

_PREFIX = "headrace."
_FLIGHT = ".flight"
_ACCEPTED = ".accepted"


class QdrantVectorIndex:
    """`VectorIndex` on an engine. Other processes may use the same collections where the engine allows it."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._spaces: dict[Space, Collections] = {}
        self._retracted = RetractedSamples(engine)
        self._rejected = RejectedContents(engine)

    async def enter(self, points: Sequence[PendingPoint]) -> Sequence[str]:
        refusals: dict[Submission, str] = {}
        by_space: dict[Space, list[PendingPoint]] = defaultdict(list)
        for point in points:
            by_space[point.submission.space].append(point)
        for space, mine in by_space.items():
            collections = await self._ensure(space, len(mine[0].vectors.prompt))
            refusals.update({point.submission: misfit(collections.dimensions, point.vectors) for point in mine})
            await self._engine.add(collections.flight, [pending_point(p) for p in mine if not refusals[p.submission]])
        return [refusals[point.submission] for point in points]

    async def look(self, questions: Sequence[Question]) -> Sequence[Surroundings]:
        await self._refresh()
        found = await look(self._engine, self._spaces, questions)
        return await self._with_rejected(questions, await self._with_retracted(questions, found))

    async def pending(self, dataset_id: str, orders: Collection[int]) -> frozenset[int]:
        await self._refresh()
        found: set[int] = set()
        for collections in self._of({dataset_id}).values():
            points = await self._engine.find(collections.flight, {"order": orders})
            found.update(int(point.payload["order"]) for point in points)
        return frozenset(found)

    async def accept(self, submissions: Sequence[Submission]) -> Sequence[Vectors | None]:
        await self._refresh()
        landed: dict[Submission, Vectors] = {}
        for space, mine in _by_space(submissions).items():
            if space in self._spaces:
                landed.update(await self._land(self._spaces[space], mine))
        await self._replace_lower(landed)
        await self.release(tuple(landed))
        return [landed.get(submission) for submission in submissions]

    async def release(self, submissions: Sequence[Submission]) -> None:
        if any(submission.space not in self._spaces for submission in submissions):
            await self._refresh()
        now = self._clock()
        for space, mine in _by_space(submissions).items():
            if space in self._spaces:
                await self._engine.put(self._spaces[space].flight, [mark(pending_id(each), now) for each in mine])

    async def reject(self, dataset_id: str, rejections: Sequence[Rejection]) -> None:
        await self._rejected.add(dataset_id, rejections)

    async def retract(self, dataset_id: str, rules: Sequence[tuple[str, int]]) -> None:
        await self._retracted.add(dataset_id, rules)
        await self._refresh()
        reach = highest(rules)
        now = self._clock()
        for collections in self._of({dataset_id}).values():
            found = await self._engine.find(collections.accepted, {"sample_id": set(reach)})
            there = [(str(point.payload["sample_id"]), int(point.payload["revision"])) for point in found]
            gone = {*reach.items(), *(key for key in there if is_retracted(reach, *key))}
            # Marks, also where nothing is yet: a suspended writer may be about to add the very revision.
            await self._engine.put(collections.accepted, [mark(accepted_id(*key), now) for key in sorted(gone)])

    async def retracted(self, samples: Mapping[str, Collection[str]]) -> Mapping[str, Mapping[str, int]]:
        return await self._retracted.of(samples)

    async def sweep(self, *, settled_before: float, entered_before: float) -> int:
        await self._refresh()
        gone = 0
        for collections in self._spaces.values():
            gone += await self._engine.remove_below(collections.flight, "entered_at", milliseconds(entered_before))
            await self._engine.remove_below(collections.flight, "settled_at", milliseconds(settled_before))
            await self._engine.remove_below(collections.accepted, "settled_at", milliseconds(settled_before))
        return gone

    async def load(self, points: Sequence[AcceptedPoint]) -> Sequence[bool]:
        await self._refresh()
        by_space: dict[Space, list[AcceptedPoint]] = defaultdict(list)
        for point in points:
            by_space[point.space].append(point)
        for space, mine in by_space.items():
            collections = await self._ensure(space, len(mine[0].vectors.prompt))
            refusal = next((text for point in mine if (text := misfit(collections.dimensions, point.vectors))), "")
            if refusal:
                raise ValueError(refusal)
            await self._engine.add(collections.accepted, [accepted_point(point) for point in mine])
        return await self._taking_back(points)

    async def clear(self, space: Space) -> None:
        await self._refresh()
        if space in self._spaces:
            collections = self._spaces[space]
            await self._engine.drop(collections.accepted)
            await self._engine.create(collections.accepted, collections.dimensions, searched=True)

    async def census(self) -> Sequence[Census]:
        await self._refresh()
        censuses = []
        for space, collections in self._spaces.items():
            oldest = await self._engine.least(collections.flight, "entered_at")
            accepted = await accepted_size(self._engine, collections)
            pending = await self._engine.count(collections.flight, "order")
            censuses.append(Census(space, collections.dimensions, accepted, pending, None if oldest is None else oldest / 1000))
        return censuses

    async def ping(self) -> None:
        await self._engine.ping()

    async def close(self) -> None:
        await self._engine.close()

    async def _with_retracted(self, questions: Sequence[Question], found: Sequence[Surroundings]) -> Sequence[Surroundings]:
        asked: dict[str, set[str]] = defaultdict(set)
        for question in questions:
            if self._retracted.known_of(question.submission.space.dataset_id):
                asked[question.submission.space.dataset_id].update(_names_in(question))
        reach = await self._retracted.of(asked)
        if not reach:
            return found
        rules = [reach.get(question.submission.space.dataset_id, {}) for question in questions]
        return [
            replace(
                each,
                retracted=mine.get(question.submission.sample_id),
                parent_retracted=mine.get(question.parent[0]) if question.parent else None,
            )
            for question, each, mine in zip(questions, found, rules, strict=True)
        ]

    async def _with_rejected(self, questions: Sequence[Question], found: Sequence[Surroundings]) -> Sequence[Surroundings]:
        """Asked for after the flight: whoever was rejected and left it meanwhile is found here."""
        asked: dict[str, set[tuple[str, int]]] = defaultdict(set)
        for mine in (question.submission for question in questions if question.rejected):
            asked[mine.space.dataset_id].add((mine.sample_id, mine.revision))
        rejected = await self._rejected.of(asked)
        if not rejected:
            return found
        keys = [(mine.space.dataset_id, mine.sample_id, mine.revision) for mine in (each.submission for each in questions)]
        return [
            replace(each, rejected=rejected.get(key)) if question.rejected else each
            for question, each, key in zip(questions, found, keys, strict=True)
        ]

    def _of(self, dataset_ids: Collection[str]) -> dict[Space, Collections]:
        return {space: collections for space, collections in self._spaces.items() if space.dataset_id in dataset_ids}

    async def _refresh(self) -> None:
        """Learns of the spaces that other writers have made: what is pending there counts here.

        Makes up for a clearing that ended half-way, here or elsewhere: it dropped what was accepted and made nothing anew.
        """
        known = {collections.flight for collections in self._spaces.values()}
        names = await self._engine.names()
        self._retracted.learn(names)
        self._rejected.learn(names)
        for name in names:
            if name in known or not (name.startswith(_PREFIX) and name.endswith(_FLIGHT)):
                continue
            label = (await self._engine.get(name, [LABEL_ID], vectors=False)).get(LABEL_ID)
            if label is not None:  # else its writer is about to put it there, and nothing is pending yet
                payload = label.payload
                space = Space(str(payload["dataset"]), str(payload["model"]), str(payload["model_version"]))
                accepted = name.removesuffix(_FLIGHT) + _ACCEPTED
                self._spaces[space] = Collections(name, accepted, int(payload["dimensions"]))
        for collections in tuple(self._spaces.values()):
            if collections.accepted not in names:
                await self._engine.create(collections.accepted, collections.dimensions, searched=True)

    async def _ensure(self, space: Space, dimensions: int) -> Collections:
        if space not in self._spaces:
            await self._refresh()
        if space not in self._spaces:
            digest = hashlib.sha256(f"{space.model}\0{space.model_version}".encode()).hexdigest()[:16]
            stem = f"{_PREFIX}{space.dataset_id}.{digest}"
            await self._engine.create(stem + _ACCEPTED, dimensions, searched=True)
            await self._engine.create(stem + _FLIGHT, dimensions, searched=False)
            names = {"dataset": space.dataset_id, "model": space.model, "model_version": space.model_version}
            await self._engine.add(stem + _FLIGHT, [Point(LABEL_ID, {**names, "dimensions": dimensions})])
            await self._refresh()  # where someone else was first, with other dimensions, that one's count
        return self._spaces[space]

    async def _land(self, collections: Collections, submissions: Sequence[Submission]) -> dict[Submission, Vectors]:
        """Makes accepted points of pending ones; where that was done before, reads what was made."""
        ids = {each: pending_id(each) for each in submissions}
        flight = await self._engine.get(collections.flight, list(ids.values()), vectors=True)
        pending = {each: flight[ids[each]] for each in submissions if ids[each] in flight and flight[ids[each]].vectors}
        await self._engine.add(collections.accepted, [landed_point(each, point) for each, point in pending.items()])
        landed = {each: vectors_of(point) for each, point in pending.items()}
        earlier = {accepted_id(each.sample_id, each.revision): each for each in submissions if each not in pending}
        landed.update(await self._vectors(collections.accepted, earlier))
        replaced = {replaced_id(e.sample_id, e.revision): e for e in submissions if e not in landed}
        landed.update(await self._vectors(collections.flight, replaced))
        return landed

    async def _vectors(self, name: str, wanted: dict[str, Submission]) -> dict[Submission, Vectors]:
        points = await self._engine.get(name, list(wanted), vectors=True) if wanted else {}
        return {wanted[each]: vectors_of(point) for each, point in points.items() if point.vectors}

    async def _taking_back(self, points: Sequence[AcceptedPoint]) -> list[bool]:
        """Takes out of points that were just loaded those that are retracted or have an accepted later revision.

        Asked for after they were added: of two that change the index at a time one sees the other.
        """
        await self._refresh()
        samples: dict[str, set[str]] = defaultdict(set)
        for point in points:
            samples[point.space.dataset_id].add(point.sample_id)
        reach = await self._retracted.of(samples)
        latest: dict[tuple[str, str], int] = {}
        for space, collections in self._of(samples).items():
            for found in await self._engine.find(collections.accepted, {"sample_id": samples[space.dataset_id]}):
                key = (space.dataset_id, str(found.payload["sample_id"]))
                latest[key] = max(int(found.payload["revision"]), latest.get(key, 0))
        stands = [
            not is_retracted(reach.get(point.space.dataset_id, {}), point.sample_id, point.revision)
            and point.revision >= latest.get((point.space.dataset_id, point.sample_id), 0)
            for point in points
        ]
        now = self._clock()
        for point, standing in zip(points, stands, strict=True):
            if not standing:
                gone = mark(accepted_id(point.sample_id, point.revision), now)
                await self._engine.put(self._spaces[point.space].accepted, [gone])
        return stands

    async def _replace_lower(self, submissions: Iterable[Submission]) -> None:
        """Takes the accepted lower revisions of these samples out, marks their places and keeps their vectors for a while."""
        highest: dict[tuple[str, str], int] = {}
        for each in submissions:
            if each.revision > 0:
                key = (each.space.dataset_id, each.sample_id)
                highest[key] = max(each.revision, highest.get(key, 0))
        if highest:
            await self._refresh()  # a space may have been made, and a lower revision loaded into it, since this began
        now = self._clock()
        for space, collections in self._of({dataset_id for dataset_id, _ in highest}).items():
            samples = {sample_id for dataset_id, sample_id in highest if dataset_id == space.dataset_id}
            found = [
                (str(point.payload["sample_id"]), int(point.payload["revision"]))
                for point in await self._engine.find(collections.accepted, {"sample_id": samples})
            ]
            lower = [key for key in found if key[1] < highest[space.dataset_id, key[0]]]
            whole = await self._engine.get(collections.accepted, [accepted_id(*key) for key in lower], vectors=True)
            remains = {key: whole[accepted_id(*key)] for key in lower if accepted_id(*key) in whole}
            kept = [
                Point(replaced_id(*key), mark("", now).payload, point.vectors) for key, point in remains.items() if point.vectors
            ]
            await self._engine.add(collections.flight, kept)
            await self._engine.put(collections.accepted, [mark(accepted_id(*key), now) for key in remains])


def _names_in(question: Question) -> set[str]:
    return {question.submission.sample_id} if question.parent is None else {question.submission.sample_id, question.parent[0]}


def _by_space(submissions: Iterable[Submission]) -> dict[Space, list[Submission]]:
    by_space: dict[Space, list[Submission]] = defaultdict(list)
    for each in submissions:
        by_space[each.space].append(each)
    return by_space
