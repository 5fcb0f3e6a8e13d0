"""What diversity guarantees, over random streams, decisions, delays, crashes and zombies (README.md argues why)."""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.dossiers import Dossier, DuplicateKind
from headrace.core.policies import CheckRequest, DiversityBounds, Policy
from headrace.core.ports.vector_index import VectorIndex
from tests.fakes.exact_vector_index import ExactVectorIndex
from tests.fakes.placement_world import DIMENSIONS, World, conversation_of, pause, run, sample_of, scored_of
from tests.fakes.vector_engine import DictEngine

NEAR = 0.999
POLICY = Policy(diversity=DiversityBounds(near_duplicate_cosine=NEAR, hold_s_max=80_000.0))
IMPATIENT = Policy(diversity=DiversityBounds(near_duplicate_cosine=NEAR, hold_s_max=0.5))
EXACT = Policy(diversity=DiversityBounds(near_duplicate_cosine=None, hold_s_max=80_000.0))
QUOTA = Policy(
    diversity=DiversityBounds(near_duplicate_cosine=None, hold_s_max=80_000.0),
    checks=(CheckRequest(check="duplicate_prompt", copies_max=2),),
)
SEEDS = st.integers(0, 2**48)
MANY = settings(max_examples=200, suppress_health_check=list(HealthCheck))


class PausingExact(ExactVectorIndex):
    """The oracle, giving way between the calls of a handler."""

    async def enter(self, points):
        await pause()
        return await super().enter(points)

    async def look(self, questions):
        await pause()
        return await super().look(questions)

    async def pending(self, dataset_id, orders):
        await pause()
        return await super().pending(dataset_id, orders)

    async def accept(self, submissions):
        await pause()
        return await super().accept(submissions)

    async def release(self, submissions):
        await pause()
        await super().release(submissions)

    async def reject(self, dataset_id, rejections):
        await pause()
        await super().reject(dataset_id, rejections)


INDEXES: dict[str, Callable[[], VectorIndex]] = {
    "oracle": PausingExact,
    "collections": lambda: QdrantVectorIndex(DictEngine(pause)),
}


@pytest.fixture(params=INDEXES)
def make_index(request: pytest.FixtureRequest) -> Callable[[], VectorIndex]:
    return INDEXES[request.param]


def direction(choose: random.Random, near: np.ndarray | None = None) -> np.ndarray:
    fresh = np.array([choose.gauss(0, 1) for _ in range(DIMENSIONS)])
    fresh /= np.linalg.norm(fresh)
    if near is None:
        return fresh.astype(np.float32)
    # Members of a cluster are 0.01 from its middle, so at most 0.02 from each other: cosine at least 0.9998.
    moved = near + 0.01 * fresh
    return (moved / np.linalg.norm(moved)).astype(np.float32)


def play(world: World, submissions: list[Callable[[], None]]) -> None:
    """Submits at random moments while things happen, then lets everything end."""
    pace = world.choose.choice([0.5, 0.1, 0.03])
    while submissions or (world.in_flight() and world.choose.random() < 0.997):
        if submissions and world.choose.random() < pace:
            submissions.pop(0)()
        world.step()
    world.settle_down()
    check_accepted(world)
    check_identity(world)
    check_at_rest(world)


def key(dossier: Dossier) -> tuple[str, int, str]:
    sample = dossier.sample
    return sample.id, sample.revision, sample.content_hash


def check_accepted(world: World) -> None:
    """No two standing near-duplicates or equal contents, no sample and revision twice, no revision after a later one."""
    vectors = {key(each.dossier): conversation_of(each) for each in world.submitted}
    bound = world.policy.diversity.near_duplicate_cosine
    standing: dict[str, Dossier] = {}
    seen: set[tuple[str, int]] = set()
    for dossier in world.accepted:
        sample = dossier.sample
        assert (sample.id, sample.revision) not in seen, "admitted twice"
        assert all(revision < sample.revision for sample_id, revision in seen if sample_id == sample.id), (
            "stale revision admitted"
        )
        seen.add((sample.id, sample.revision))
        for other_id, other in standing.items():
            if other_id == sample.id:
                continue
            assert other.sample.content_hash != sample.content_hash, "exact duplicate admitted"
            if bound is not None:
                assert float(vectors[key(dossier)] @ vectors[key(other)]) < bound, "near-duplicate admitted"
        standing[sample.id] = dossier


def check_identity(world: World) -> None:
    """Of each id and revision one content was decided for what it is; all others were turned away for that content's sake."""
    decided: dict[tuple[str, int], set[str]] = {}
    for dossier in [*world.accepted, *world.rejected]:
        placement, sample = dossier.placement, dossier.sample
        assert placement is not None
        if placement.duplicate_kind in {DuplicateKind.NONE, DuplicateKind.EXACT, DuplicateKind.NEAR}:
            decided.setdefault((sample.id, sample.revision), set()).add(sample.content_hash)
    assert all(len(contents) == 1 for contents in decided.values()), "two contents under one id and revision"


def check_at_rest(world: World) -> None:
    """Every submission ended once; the index holds what stands and nothing else; embeddings were handed on once."""
    letters = [letter for number, letter in enumerate(world.letters) if number not in world.redriven]
    ended = [*world.accepted, *world.rejected, *(each if isinstance(each, Dossier) else each.dossier for each in letters)]
    assert Counter(key(each.dossier) for each in world.submitted) == Counter(key(each) for each in ended)
    standing = {each.sample.id: each.sample.revision for each in world.accepted}
    censuses = run(world.index.census())
    assert sum(census.pending for census in censuses) == 0, "a shadow is left"
    assert sum(census.accepted for census in censuses) == len(standing)
    sent = Counter((each.sample_id, each.revision, each.content_hash) for each in world.indexed)
    assert sent == Counter(key(each) for each in world.accepted)
    vectors = {key(each.dossier): each.embeddings for each in world.submitted}
    for each in world.indexed:
        assert each.embeddings == vectors[each.sample_id, each.revision, each.content_hash]


@MANY
@given(seed=SEEDS)
def test_of_each_cluster_exactly_one_is_admitted(make_index: Callable[[], VectorIndex], seed: int) -> None:
    """Of duplicates that arrive together one is admitted if any has merit; and never two, whatever fails meanwhile."""
    choose = random.Random(seed)
    by_content = choose.random() < 0.3
    world = World(make_index(), EXACT if by_content else POLICY, choose, chaos=choose.choice([0.0, 0.05, 0.2]))
    clusters = [direction(choose) for _ in range(choose.randint(1, 4))]
    members: dict[int, list[bool]] = {}
    clusters_of: dict[str, int] = {}
    submissions: list[Callable[[], None]] = []
    for number in range(choose.randint(1, 24)):
        cluster = choose.randrange(len(clusters))
        text = f"cluster {cluster}" if by_content or choose.random() < 0.3 else f"text {number}"
        merit = world.merits.setdefault(sample_of("x", 0, text).content_hash, choose.random() < 0.5)
        members.setdefault(cluster, []).append(merit)
        vector = direction(choose, None if by_content else clusters[cluster])
        clusters_of[f"s{number}"] = cluster
        scored = scored_of(sample_of(f"s{number}", 0, text), direction(choose), vector)
        submissions.append(partial(world.submit, scored, merit=merit))
    play(world, submissions)
    assert not world.letters
    admitted = Counter(clusters_of[each.sample.id] for each in world.accepted)
    assert admitted == Counter({cluster: 1 for cluster, merits in members.items() if any(merits)})


@MANY
@given(seed=SEEDS)
def test_repeated_ids_revisions_and_parked_samples(make_index: Callable[[], VectorIndex], seed: int) -> None:
    """Ids come again, with other contents and revisions, and some samples end in the dead letters: the invariants hold."""
    choose = random.Random(seed)
    policy = choose.choice([POLICY, IMPATIENT])
    world = World(make_index(), policy, choose, chaos=choose.choice([0.0, 0.05, 0.2]), parks=choose.choice([0.0, 0.2]))
    clusters = [direction(choose) for _ in range(3)]
    submissions: list[Callable[[], None]] = []
    for _ in range(choose.randint(1, 24)):
        cluster = choose.randrange(len(clusters))
        sample_id, revision, text = f"s{choose.randrange(4)}", choose.randrange(3), f"text {cluster} {choose.randrange(3)}"
        # Equal contents have equal embeddings, as a model makes them.
        by_text = random.Random(text)
        scored = scored_of(sample_of(sample_id, revision, text), direction(by_text), direction(by_text, clusters[cluster]))
        submissions.append(partial(world.submit, scored, merit=choose.random() < 0.6))
    play(world, submissions)


@MANY
@given(seed=SEEDS)
def test_no_more_copies_of_a_prompt_than_the_quota(make_index: Callable[[], VectorIndex], seed: int) -> None:
    """With a quota of two, at most two samples with one prompt are admitted, and two if two have merit."""
    choose = random.Random(seed)
    world = World(make_index(), QUOTA, choose, chaos=choose.choice([0.0, 0.05, 0.2]))
    prompts: dict[str, list[bool]] = {}
    submissions: list[Callable[[], None]] = []
    for number in range(choose.randint(1, 18)):
        prompt, merit = f"prompt {choose.randrange(3)}", choose.random() < 0.5
        prompts.setdefault(prompt, []).append(merit)
        scored = scored_of(sample_of(f"s{number}", 0, f"text {number}", prompt), direction(choose), direction(choose))
        submissions.append(partial(world.submit, scored, merit=merit))
    play(world, submissions)
    admitted = Counter(each.sample.messages[0].content for each in world.accepted)
    assert admitted == Counter({prompt: min(2, sum(merits)) for prompt, merits in prompts.items() if any(merits)})
