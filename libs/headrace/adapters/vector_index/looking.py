"""Answers a batch of questions with a few requests, whatever its size."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Engine, Hit, Point, Search
from headrace.adapters.vector_index.points import Collections, accepted_of, earlier_of, pending_id
from headrace.core.ports.vector_index import (
    NEAR_EARLIER_MAX,
    Accepted,
    Earlier,
    Question,
    Space,
    Standing,
    Surroundings,
)

_OWN_MAX = 3
"""Accepted points that a sample itself may have for a moment: asked for on top, so that enough others remain."""

Spaces = Mapping[Space, Collections]


@dataclass(slots=True)
class _Flight:
    """What is pending around a batch; the identities are looked up by dataset and value."""

    standings: dict[str, Standing] = field(default_factory=dict)
    near: dict[int, list[Earlier]] = field(default_factory=dict)
    by_sample: dict[tuple[str, str], list[Earlier]] = field(default_factory=lambda: defaultdict(list))
    by_content: dict[tuple[str, str], list[Earlier]] = field(default_factory=lambda: defaultdict(list))
    by_prompt: dict[tuple[str, str], list[Earlier]] = field(default_factory=lambda: defaultdict(list))


@dataclass(slots=True)
class _Landed:
    """What is accepted around a batch."""

    near: dict[int, list[Hit]] = field(default_factory=dict)
    neighbours: dict[int, list[Hit]] = field(default_factory=dict)
    by_sample: dict[tuple[str, str], list[tuple[Space, Point]]] = field(default_factory=lambda: defaultdict(list))
    by_content: dict[tuple[str, str], list[tuple[Space, Point]]] = field(default_factory=lambda: defaultdict(list))
    copies: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    sharers: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    sizes: dict[Space, int] = field(default_factory=dict)


async def look(engine: Engine, spaces: Spaces, questions: Sequence[Question]) -> list[Surroundings]:
    """First at the flight, then at the accepted: whoever left the flight meanwhile has landed by then."""
    flight = await _flight(engine, spaces, questions)
    landed = await _landed(engine, spaces, questions)
    return [_surroundings(number, question, flight, landed) for number, question in enumerate(questions)]


async def accepted_size(engine: Engine, collections: Collections) -> int:
    """Accepted points, marks apart."""
    return await engine.count(collections.accepted) - await engine.count(collections.accepted, "settled_at")


async def _flight(engine: Engine, spaces: Spaces, questions: Sequence[Question]) -> _Flight:
    flight = _Flight()
    for space, numbers in _by_space(questions).items():
        if space not in spaces:
            continue
        name = spaces[space].flight
        own = await engine.get(name, [pending_id(questions[n].submission) for n in numbers], vectors=False)
        for each, point in own.items():
            flight.standings[each] = Standing.PENDING if "order" in point.payload else Standing.SETTLED
        asked = {n: question.near_cosine for n in numbers if (question := questions[n]).near_cosine is not None}
        hits = await engine.search(name, [_near_earlier(questions[n], cosine) for n, cosine in asked.items()])
        for number, found in zip(asked, hits, strict=True):
            flight.near[number] = [earlier_of(hit.payload, hit.cosine) for hit in found]
    for dataset_id, mine in _by_dataset(questions).items():
        wanted = _identities(mine, [question for question in mine if question.copies_pending])
        for space in spaces:
            if space.dataset_id != dataset_id:
                continue
            for point in await engine.find(spaces[space].flight, wanted):
                each_earlier = earlier_of(point.payload)
                flight.by_sample[dataset_id, each_earlier.sample_id].append(each_earlier)
                flight.by_content[dataset_id, each_earlier.content.content_hash].append(each_earlier)
                flight.by_prompt[dataset_id, each_earlier.content.prompt_hash].append(each_earlier)
    return flight


async def _landed(engine: Engine, spaces: Spaces, questions: Sequence[Question]) -> _Landed:
    landed = _Landed()
    for space, numbers in _by_space(questions).items():
        if space not in spaces:
            continue
        name = spaces[space].accepted
        landed.sizes[space] = await accepted_size(engine, spaces[space])
        asked = {n: question.near_cosine for n in numbers if (question := questions[n]).near_cosine is not None}
        by_prompt = [Search(PROMPT, questions[n].vectors.prompt, questions[n].neighbours + _OWN_MAX) for n in numbers]
        by_conversation = [
            Search(CONVERSATION, questions[n].vectors.conversation, 1 + _OWN_MAX, cosine_min=cosine)
            for n, cosine in asked.items()
        ]
        hits = await engine.search(name, [*by_prompt, *by_conversation])
        landed.neighbours.update(zip(numbers, hits, strict=False))
        landed.near.update(zip(asked, hits[len(numbers) :], strict=True))
    for dataset_id, mine in _by_dataset(questions).items():
        wanted = _identities(mine, [])
        prompts = {question.content.prompt_hash for question in mine}
        seen: Counter[str] = Counter()
        for space in spaces:
            if space.dataset_id != dataset_id:
                continue
            name = spaces[space].accepted
            for point in await engine.find(name, wanted):
                landed.by_sample[dataset_id, str(point.payload["sample_id"])].append((space, point))
                landed.by_content[dataset_id, str(point.payload["content_hash"])].append((space, point))
            tally = await engine.tally(name, "prompt_hash", prompts)
            for prompt_hash, count in tally.items():
                landed.copies[dataset_id, prompt_hash] += count
            seen.update(prompt_hash for prompt_hash, count in tally.items() if count)
        in_several = {prompt_hash for prompt_hash, times in seen.items() if times > 1}
        for prompt_hash, sample_id in await _sharing(engine, spaces, dataset_id, in_several):
            landed.sharers[dataset_id, prompt_hash].add(sample_id)
    return landed


async def _sharing(engine: Engine, spaces: Spaces, dataset_id: str, prompts: Collection[str]) -> list[tuple[str, str]]:
    """Prompt hashes and sample ids of accepted samples with these prompts: one that lies in two spaces is one sample."""
    found = []
    for space in [each for each in spaces if each.dataset_id == dataset_id and prompts]:
        points = await engine.find(spaces[space].accepted, {"prompt_hash": prompts})
        found += [(str(point.payload["prompt_hash"]), str(point.payload["sample_id"])) for point in points]
    return found


def _surroundings(number: int, question: Question, flight: _Flight, landed: _Landed) -> Surroundings:
    mine = question.submission
    own = landed.by_sample.get((mine.space.dataset_id, mine.sample_id), [])
    near = _others(question, landed.near.get(number, ()))
    return Surroundings(
        standing=flight.standings.get(pending_id(mine), Standing.UNKNOWN),
        earlier=_earlier(number, question, flight),
        akin=_akin(question, own, landed.by_content.get((mine.space.dataset_id, question.content.content_hash), [])),
        near=near[0] if near else None,
        neighbours=_others(question, landed.neighbours.get(number, ()))[: question.neighbours],
        prompt_copies=_prompt_copies(question, own, landed),
        compared_with=landed.sizes.get(mine.space, 0),
    )


def _prompt_copies(question: Question, own: Sequence[tuple[Space, Point]], landed: _Landed) -> int:
    """Accepted samples with the same prompt, the sample itself apart: counted by name where they lie in several spaces."""
    mine, prompt_hash = question.submission, question.content.prompt_hash
    if sharers := landed.sharers.get((mine.space.dataset_id, prompt_hash)):
        return len(sharers - {mine.sample_id})
    own_copies = sum(point.payload["prompt_hash"] == prompt_hash for _, point in own)
    return landed.copies.get((mine.space.dataset_id, prompt_hash), 0) - own_copies


def _earlier(number: int, question: Question, flight: _Flight) -> tuple[Earlier, ...]:
    mine = question.submission
    dataset_id = mine.space.dataset_id
    found = [
        *flight.by_sample.get((dataset_id, mine.sample_id), ()),
        *flight.by_content.get((dataset_id, question.content.content_hash), ()),
        *(flight.by_prompt.get((dataset_id, question.content.prompt_hash), ()) if question.copies_pending else ()),
        *(each for each in flight.near.get(number, ()) if each.sample_id != mine.sample_id),
    ]
    by_order = {each.order: each for each in found if each.order < mine.order}  # the near ones come last: they have a cosine
    return tuple(by_order[order] for order in sorted(by_order))


def _akin(question: Question, own: Sequence[tuple[Space, Point]], same: Sequence[tuple[Space, Point]]) -> tuple[Accepted, ...]:
    found = {(space, point.id): (space, point) for space, point in [*own, *same]}
    return tuple(
        accepted_of(
            point.payload,
            float(point.vectors[CONVERSATION] @ question.vectors.conversation) if space == question.submission.space else None,
        )
        for space, point in found.values()
    )


def _others(question: Question, hits: Iterable[Hit]) -> tuple[Accepted, ...]:
    return tuple(
        accepted_of(hit.payload, hit.cosine) for hit in hits if hit.payload["sample_id"] != question.submission.sample_id
    )


def _near_earlier(question: Question, cosine: float | None) -> Search:
    return Search(
        CONVERSATION,
        question.vectors.conversation,
        NEAR_EARLIER_MAX,
        cosine_min=cosine,
        order_below=question.submission.order,
    )


def _identities(questions: Iterable[Question], with_prompts: Iterable[Question]) -> Mapping[str, Collection[str]]:
    questions = list(questions)
    return {
        "sample_id": {question.submission.sample_id for question in questions},
        "content_hash": {question.content.content_hash for question in questions},
        "prompt_hash": {question.content.prompt_hash for question in with_prompts},
    }


def _by_space(questions: Sequence[Question]) -> dict[Space, list[int]]:
    numbers: dict[Space, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        numbers[question.submission.space].append(number)
    return numbers


def _by_dataset(questions: Sequence[Question]) -> dict[str, list[Question]]:
    mine: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        mine[question.submission.space.dataset_id].append(question)
    return mine
