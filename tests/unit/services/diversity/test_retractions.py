"""Retractions over random streams, decisions, delays, crashes and zombies: what is taken back stays away, and is heard last."""

import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.dossiers import AcceptedSample, DuplicateKind, Retraction, Verdict
from headrace.core.events import Emit, Event, Position, Retry
from headrace.core.policies import DiversityBounds, Policy
from headrace.core.retractions import RetractionRequested, highest, is_retracted
from headrace.core.topics import DECIDED, RETRACTION_REQUESTED, SCORED, accepted_topic
from services.diversity.handlers import Diversity
from services.diversity.retractions import Retracting
from tests.fakes.bodies import DECISIONS
from tests.fakes.placement_world import DATASET, Hop, Record, World, pause, run, sample_of, scored_of
from tests.fakes.rewrites import rewrite
from tests.fakes.vector_engine import DictEngine
from tests.unit.services.diversity.test_guarantees import PausingExact, direction

POLICY = Policy(diversity=DiversityBounds(near_duplicate_cosine=None, hold_s_max=80_000.0))
ACCEPTED = accepted_topic(DATASET)


class PausingExactRetracting(PausingExact):
    """The oracle, giving way before retractions too."""

    async def retract(self, dataset_id, rules):
        await pause()
        await super().retract(dataset_id, rules)

    async def retracted(self, samples):
        await pause()
        return await super().retracted(samples)


class RetractingWorld(World):
    """A world in which samples are taken back; `heard` is what lies on the accepted topic, in order."""

    def __init__(self, index, choose, **more):
        super().__init__(index, POLICY, choose, **more)
        self.requests = Hop(RETRACTION_REQUESTED, Retracting(index, lambda _: POLICY).retract)
        self.hops = (*self.hops, self.requests)
        self.heard: list[tuple[str, str, int]] = []
        self.refused: set[str] = set()
        self.rules: list[tuple[str, int]] = []

    def retract(self, sample_id: str, revision: int) -> None:
        self.requests.log.append(asked(sample_id, revision, len(self.requests.log)))

    def submit(self, scored, *, merit):
        sample = scored.dossier.sample
        if is_retracted(highest(self.rules), sample.id, sample.revision):
            self.refused.add(sample.content_hash)
        super().submit(scored, merit=merit)

    def _take(self, hop, record, result):
        if hop is self.requests:
            self.rules.append((record.body.sample_id, record.body.revision))
        if isinstance(result, Emit) and [send.topic for send in result.sends] == [ACCEPTED]:
            [send] = result.sends
            assert isinstance(send.body, AcceptedSample)
            assert isinstance(send.body.change, Retraction)
            self.heard.append(("retracted", send.body.change.sample_id, send.body.change.revision))
        else:
            super()._take(hop, record, result)

    def _retry(self, hop, record):
        if hop is self.requests:  # it comes back, in whatever order
            self._append(hop, record.body)
        else:
            super()._retry(hop, record)

    def _decide(self):
        before = len(self.accepted)
        super()._decide()
        self.heard += [("accepted", each.sample.id, each.sample.revision) for each in self.accepted[before:]]


def asked(sample_id: str, revision: int, offset: int) -> Record:
    return Record(RetractionRequested(DATASET, sample_id, revision, "licence", f"request-{offset}", "ada"), offset)


INDEXES = {"oracle": PausingExactRetracting, "collections": lambda: QdrantVectorIndex(DictEngine(pause))}


@pytest.fixture(params=INDEXES)
def make_index(request):
    return INDEXES[request.param]


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**48))
def test_what_is_retracted_stays_away_and_is_heard_last(make_index, seed):
    """The index forgets, each covered acceptance is followed by a retraction, and what comes again is turned away."""
    choose = random.Random(seed)
    world = RetractingWorld(make_index(), choose, chaos=choose.choice([0.0, 0.05, 0.2]))
    happenings = []
    for number in range(choose.randint(2, 20)):
        sample_id, revision = f"s{choose.randrange(3)}", choose.randrange(3)
        if choose.random() < 0.3:
            happenings.append(partial(world.retract, sample_id, revision))
            continue
        scored = scored_of(sample_of(sample_id, revision, f"text {number}"), direction(choose), direction(choose))
        happenings.append(partial(world.submit, scored, merit=choose.random() < 0.9))
    pace = choose.choice([0.5, 0.1, 0.03])
    while happenings:
        if choose.random() < pace:
            happenings.pop(0)()
        world.step()
    world.settle_down()
    check(world)


def check(world: RetractingWorld) -> None:
    reach = highest(world.rules)
    for number, (what, sample_id, revision) in enumerate(world.heard):
        if what == "accepted" and is_retracted(reach, sample_id, revision):
            later = [r for w, s, r in world.heard[number + 1 :] if (w, s) == ("retracted", sample_id)]
            assert max(later, default=-1) >= revision, "a subscriber still trains on it"
    assert not {each.sample.content_hash for each in world.accepted} & world.refused, "it came back"
    standing = {each.sample.id: each.sample.revision for each in world.accepted}
    kept = [key for key in standing.items() if not is_retracted(reach, *key)]
    censuses = run(world.index.census())
    assert (sum(c.accepted for c in censuses), sum(c.pending for c in censuses)) == (len(kept), 0)
    indexed = {(each.sample_id, each.revision) for each in world.indexed}
    untouched = {(each.sample.id, each.sample.revision) for each in world.accepted if each.sample.id not in reach}
    assert untouched <= indexed


async def test_a_dataset_that_does_not_exist_is_waited_for():
    """A retraction for a dataset without a policy is tried again: its topic for subscribers does not exist yet."""
    index = PausingExact()
    event = Event("e", RETRACTION_REQUESTED.name, DATASET, asked("a", 0, 0).body, 0.0, Position(RETRACTION_REQUESTED.name, 0, 0))
    [result] = await Retracting(index, lambda _: None).retract([event])
    assert isinstance(result, Retry)


@pytest.mark.parametrize(("reworded", "turned_away"), [(("a", 1), True), (("a", 2), False), (("other", 0), False)])
async def test_a_rewrite_of_what_was_retracted_is_turned_away(make_index, reworded, turned_away):
    """Whether it replaces its parent or stands beside it: retracted text does not come back in other words."""
    index = make_index()
    await index.retract(DATASET, [("a", 1)])
    diversity = Diversity(index, lambda _: POLICY)
    events = [
        scored_rewrite(reworded[0], reworded[1], sample_id, offset) for offset, sample_id in enumerate((reworded[0], "beside"))
    ]
    results: Any = await diversity.place(events)
    kinds = [result.sends[0].body.placement.duplicate_kind for result in results]
    assert kinds == [DuplicateKind.RETRACTED if turned_away else DuplicateKind.NONE] * 2


async def test_a_rewrite_that_was_placed_before_its_parent_was_retracted_is_taken_back(make_index):
    """Settling it asks for a retraction of its own, so versions and subscribers lose it too; the index forgets it at once."""
    index = make_index()
    diversity = Diversity(index, lambda _: POLICY)
    placed: Any = (await diversity.place([scored_rewrite("a", 1, "a", 0)]))[0]
    await index.retract(DATASET, [("a", 1)])
    decision = replace(DECISIONS[-1], verdict=Verdict.ACCEPTED)
    decided = replace(placed.sends[0].body, decisions=(decision,))
    event = Event("d", DECIDED.name, DATASET, decided, 0.0, Position(DECIDED.name, 0, 0))
    settled: Any = await diversity.settle([event])
    [send] = settled[0].sends
    assert (send.topic, send.body.sample_id, send.body.revision) == (RETRACTION_REQUESTED, "a", 2)
    assert "a revision 1" in send.body.note
    assert await index.retracted({DATASET: ["a"]}) == {DATASET: {"a": 2}}


def scored_rewrite(parent_id, parent_revision, sample_id, offset):
    """A rewrite as the next revision of its parent, or beside it, scored."""
    choose = random.Random(offset)
    reworded = sample_of(parent_id, parent_revision, "said before")
    scored = scored_of(
        sample_of(sample_id, parent_revision + 1 if sample_id == parent_id else 0, f"other words {offset}"),
        direction(choose), direction(choose),
    )  # fmt: skip
    scored = replace(scored, dossier=replace(scored.dossier, rewrite=rewrite(parent=reworded)))
    return Event(f"s-{offset}", SCORED.name, DATASET, scored, 0.0, Position(SCORED.name, 0, offset))
