"""Placing, holding, settling and releasing, one rule at a time; test_guarantees.py plays them together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.core.dossiers import Decision, Dossier, DuplicateKind, Embeddings, IndexedSample, ScoredSample, Verdict
from headrace.core.events import Emit, Event, Position, Reject, Result, Retry, Stop
from headrace.core.policies import CheckRequest, DiversityBounds, Policy
from headrace.core.topics import DECIDED, HELD, INDEXED, PLACED, SCORED, Topic, retry_topic_name
from services.diversity.handlers import Diversity, Pace
from tests.fakes.certain import certain
from tests.fakes.exact_vector_index import ExactVectorIndex
from tests.fakes.placement_world import DATASET, sample_of, scored_of
from tests.fakes.rewrites import rewrite

NOW = 5_000.0


def unit(*values: float) -> np.ndarray:
    vector = np.array([*values, *[0.0] * (4 - len(values))])
    scaled: np.ndarray = (vector / np.linalg.norm(vector)).astype(np.float32)
    return scaled


def scored(sample_id: str, vector: np.ndarray, *, revision: int = 0, text: str = "", prompt: str = "prompt") -> ScoredSample:
    return scored_of(sample_of(sample_id, revision, text or f"text of {sample_id}", prompt), vector, vector)


class Bench:
    """Diversity on an exact index, with offsets given out in order."""

    def __init__(self, policy: Policy | None = None, **pace: Any) -> None:
        self.now = NOW
        self.index = ExactVectorIndex()
        self.policy = policy or Policy()
        self.known = {DATASET}
        self.diversity = Diversity(
            self.index, lambda name: self.policy if name in self.known else None, Pace(**pace), clock=lambda: self.now
        )
        self.offset = 100

    def event(self, topic: Topic, body: Any, *, retried: bool = False) -> Event[Any]:
        self.offset += 1
        name = retry_topic_name(topic.name, "diversity") if retried else topic.name
        origin = Position(topic.name, 0, 7) if retried else None
        return Event(f"e{self.offset}", topic.name, DATASET, body, NOW, Position(name, 0, self.offset), origin=origin)

    async def place(self, *bodies: ScoredSample, retried: bool = False) -> Sequence[Result]:
        return await self.diversity.place([self.event(SCORED, body, retried=retried) for body in bodies])

    async def recheck(self, *bodies: ScoredSample, retried: bool = False) -> Sequence[Result]:
        return await self.diversity.recheck([self.event(HELD, body, retried=retried) for body in bodies])

    async def settle(self, dossier: Dossier, verdict: Verdict) -> Result:
        decided = replace(dossier, decisions=(Decision(verdict, "because", "policy"),))
        [result] = await self.diversity.settle([self.event(DECIDED, decided)])
        return result

    async def admitted(self, *bodies: ScoredSample) -> list[Dossier]:
        dossiers = [placed(result) for result in await self.place(*bodies)]
        for dossier in dossiers:
            assert isinstance(await self.settle(dossier, Verdict.ACCEPTED), Emit)
        return dossiers


def only(result: Result, topic: Topic) -> Any:
    assert isinstance(result, Emit), result
    [send] = result.sends
    assert send.topic is topic
    return send.body


def placed(result: Result) -> Dossier:
    dossier: Dossier = only(result, PLACED)
    return dossier


def held(result: Result) -> ScoredSample:
    waiting: ScoredSample = only(result, HELD)
    return waiting


async def test_a_first_sample_is_placed_in_an_empty_space() -> None:
    """It has no neighbours and no density, and its placement names its pending point."""
    bench = Bench()
    [result] = await bench.place(scored("a", unit(1)))
    placement = placed(result).placement
    assert placement is not None
    assert (placement.duplicate_kind, placement.density, placement.compared_with) == (DuplicateKind.NONE, None, 0)
    assert (placement.order, placement.model, placement.model_version) == (101, "model", "1")


async def test_density_is_the_mean_of_the_nearest_prompts() -> None:
    """With k = 2, the mean of the two best prompt cosines; neighbours are named, best first."""
    bench = Bench(Policy(diversity=DiversityBounds(near_duplicate_cosine=1.0, neighbours=2)))
    await bench.admitted(scored("a", unit(1, 0.1)), scored("b", unit(1, 0.5)), scored("c", unit(0, 1)))
    [result] = await bench.place(scored("x", unit(1)))
    placement = placed(result).placement
    assert placement is not None
    cosines = [float(unit(1) @ unit(1, 0.1)), float(unit(1) @ unit(1, 0.5))]
    assert [each.sample_id for each in placement.neighbours] == ["a", "b"]
    assert placement.density == pytest.approx(sum(cosines) / 2)
    assert (placement.prompt_copies, placement.compared_with) == (3, 3)


async def test_near_duplicates_of_an_accepted_sample_name_it() -> None:
    """The nearest accepted sample is named with its cosine."""
    bench = Bench()
    await bench.admitted(scored("a", unit(1)))
    [result] = await bench.place(scored("b", unit(1, 0.01)))
    placement = placed(result).placement
    assert placement is not None
    assert placement.duplicate_kind is DuplicateKind.NEAR
    assert placement.duplicate_of is not None
    assert (placement.duplicate_of.sample_id, placement.duplicate_of.revision) == ("a", 0)
    assert placement.duplicate_of.cosine == pytest.approx(float(unit(1) @ unit(1, 0.01)))


async def test_without_a_bound_only_equal_contents_are_duplicates() -> None:
    """`near_duplicate_cosine: null` switches the cosine off, not the content."""
    bench = Bench(Policy(diversity=DiversityBounds(near_duplicate_cosine=None)))
    await bench.admitted(scored("a", unit(1), text="same"))
    results = await bench.place(scored("b", unit(1), text="other"), scored("c", unit(0, 1), text="same"))
    kinds = [placed(result).placement.duplicate_kind for result in results]  # type: ignore[union-attr]
    assert kinds == [DuplicateKind.NONE, DuplicateKind.EXACT]


@pytest.mark.parametrize(
    ("revision", "text", "kind"),
    [
        (1, "first", DuplicateKind.ALREADY_ADMITTED),
        (1, "other", DuplicateKind.REVISION_CONFLICT),
        (0, "first", DuplicateKind.STALE_REVISION),
        (2, "other", DuplicateKind.NONE),
    ],
)
async def test_samples_submitted_again(revision: int, text: str, kind: DuplicateKind) -> None:
    """What an accepted revision 1 means for another submission of the same sample."""
    bench = Bench()
    await bench.admitted(scored("a", unit(1), revision=1, text="first"))
    [result] = await bench.place(scored("a", unit(1), revision=revision, text=text))
    placement = placed(result).placement
    assert placement is not None
    assert placement.duplicate_kind is kind
    assert (placement.duplicate_of is None) == (kind is DuplicateKind.NONE)


async def test_a_batch_is_placed_in_its_own_order() -> None:
    """Of near-duplicates in one batch the first goes on and the others wait for it."""
    bench = Bench()
    first, second, far, third = await bench.place(
        scored("a", unit(1)), scored("b", unit(1, 0.01)), scored("far", unit(0, 1)), scored("c", unit(1, 0.02))
    )
    assert placed(first).sample.id == "a"
    assert placed(far).sample.id == "far"
    waiting = held(second)
    assert (waiting.order, waiting.held_behind, waiting.held_since, waiting.behind_since) == (102, 101, NOW, NOW)
    assert isinstance(second, Emit)
    assert second.sends[0].not_before == NOW + 0.25
    assert held(third).held_behind == 101


async def test_a_held_sample_gets_its_chance_when_the_first_is_turned_away() -> None:
    """After the rejection the next in line is placed, and the one behind it waits for it."""
    bench = Bench()
    first, second, third = await bench.place(scored("a", unit(1)), scored("b", unit(1)), scored("c", unit(1)))
    assert held((await bench.recheck(held(second)))[0]) == held(second)
    assert await bench.settle(placed(first), Verdict.REJECTED) == Emit()
    bench.now += 3
    now_free, still_held = await bench.recheck(held(second), held(third))
    assert placed(now_free).placement.duplicate_kind is DuplicateKind.NONE  # type: ignore[union-attr]
    waiting = held(still_held)
    assert (waiting.held_behind, waiting.held_since, waiting.behind_since) == (102, NOW, NOW + 3)


async def test_a_held_sample_becomes_a_duplicate_when_the_first_is_admitted() -> None:
    """After the acceptance those behind are placed as its duplicates at once."""
    bench = Bench()
    first, second, third = await bench.place(scored("a", unit(1)), scored("b", unit(1)), scored("c", unit(1)))
    await bench.settle(placed(first), Verdict.ACCEPTED)
    for result in await bench.recheck(held(second), held(third)):
        placement = placed(result).placement
        assert placement is not None
        assert placement.duplicate_of is not None
        assert (placement.duplicate_kind, placement.duplicate_of.sample_id) == (DuplicateKind.NEAR, "a")


async def test_a_hold_is_bounded_for_each_one_waited_for() -> None:
    """Whoever waits too long for one decision is given up, with whom it waited for; a line that moves starts anew."""
    bench = Bench(Policy(diversity=DiversityBounds(hold_s_max=10)))
    first, _, third = await bench.place(scored("a", unit(1)), scored("b", unit(1)), scored("c", unit(1)))
    bench.now += 9
    await bench.settle(placed(first), Verdict.REJECTED)
    [still] = await bench.recheck(held(third))
    assert held(still).held_behind == 102
    bench.now += 9
    assert isinstance((await bench.recheck(held(still)))[0], Emit)
    bench.now += 2
    [given_up] = await bench.recheck(held(still))
    assert isinstance(given_up, Reject)
    assert (given_up.error_class, given_up.parked) == ("HeldTooLong", True)
    assert "order 102" in given_up.error
    assert "diversity.hold_s_max" in given_up.error


async def test_crowds_are_compared_a_few_at_a_time_lowest_orders_first() -> None:
    """Once the first is gone, no more than `looks_max` are compared; the line still moves, and waits longer between looks."""
    bench = Bench(looks_max=2)
    first, *others = await bench.place(*[scored(f"s{n}", unit(1)) for n in range(129)])
    await bench.settle(placed(first), Verdict.REJECTED)
    results = await bench.recheck(*[held(result) for result in reversed(others)])
    assert placed(results[-1]).sample.id == "s1"
    assert held(results[-2]).held_behind == 102
    assert {held(result).held_behind for result in results[:-2]} == {101}
    assert isinstance(results[0], Emit)
    assert results[0].sends[0].not_before == NOW + 0.5


async def test_a_released_place_is_spent() -> None:
    """A held sample whose point is gone starts again at the end of the line."""
    bench = Bench()
    _, second = await bench.place(scored("a", unit(1)), scored("b", unit(1)))
    waiting = held(second)
    assert await bench.diversity.release([bench.event(HELD, waiting)]) == [Emit()]
    [result] = await bench.recheck(replace(waiting, held_behind=5))
    assert only(result, SCORED) == scored("b", unit(1))


@pytest.mark.parametrize("topic", [SCORED, HELD])
async def test_what_comes_back_through_the_retry_topic_goes_to_the_end_of_the_line(topic: Topic) -> None:
    """Its old point is released, so nobody waits for a place that nobody holds."""
    bench = Bench()
    body = replace(scored("a", unit(1)), order=None if topic is SCORED else 7, held_since=1.0, held_behind=3, behind_since=1.0)
    handler = bench.diversity.place if topic is SCORED else bench.diversity.recheck
    [result] = await handler([bench.event(topic, body, retried=True)])
    assert only(result, SCORED) == scored("a", unit(1))
    assert isinstance((await bench.place(scored("b", unit(1))))[0], Emit)


async def test_accepted_embeddings_are_handed_on_as_they_came() -> None:
    """INDEXED carries the very bytes, the hashes and the model."""
    bench = Bench()
    body = scored("a", unit(1, 2, 3), revision=4)
    [result] = await bench.place(body)
    for _ in range(2):
        indexed: IndexedSample = only(await bench.settle(placed(result), Verdict.ACCEPTED), INDEXED)
        assert indexed.embeddings == body.embeddings
        assert (indexed.sample_id, indexed.revision) == ("a", 4)
        assert indexed.content_hash == body.dossier.sample.content_hash
        assert len(indexed.prompt_hash) == 64


async def test_a_rejected_sample_leaves_no_shadow() -> None:
    """After the rejection its near-duplicates are placed as if it had never been, at once."""
    bench = Bench()
    [first] = await bench.place(scored("a", unit(1)))
    await bench.settle(placed(first), Verdict.REJECTED)
    [second] = await bench.place(scored("b", unit(1)))
    assert placed(second).placement.duplicate_kind is DuplicateKind.NONE  # type: ignore[union-attr]
    assert [census.pending for census in await bench.index.census()] == [1]


@pytest.mark.parametrize("where", ["placed", "scored", "held"])
async def test_dead_letters_release_their_points(where: str) -> None:
    """Whatever service gave the sample up, those behind it get their chance."""
    bench = Bench()
    body = scored("a", unit(1))
    [first] = await bench.place(body)
    letters = {
        "placed": bench.event(PLACED, placed(first)),
        "scored": replace(bench.event(SCORED, body), origin=Position(SCORED.name, 0, 101)),
        "held": bench.event(HELD, replace(body, order=101)),
    }
    assert await bench.diversity.release([letters[where]]) == [Emit()]
    assert [census.pending for census in await bench.index.census()] == [0]


async def test_dead_letters_that_were_never_entered_release_nothing() -> None:
    """A dossier without a placement, or a sample without embeddings, has no point."""
    bench = Bench()
    body = replace(scored("a", unit(1)), embeddings=None, order=3)
    events: list[Event[Any]] = [bench.event(PLACED, body.dossier), bench.event(HELD, body)]
    assert await bench.diversity.release(events) == [Emit(), Emit()]


async def test_samples_without_embeddings_pass_unplaced() -> None:
    """Signals that were not made are admission's to park: no placement, an older one removed."""
    bench = Bench()
    [earlier] = await bench.place(scored("a", unit(1)))
    [result] = await bench.place(ScoredSample(placed(earlier), None))
    assert placed(result).placement is None


async def test_one_unusable_record_does_not_harm_its_batch() -> None:
    """Broken embeddings and misfitting sizes are dead letters with a reason; an unknown dataset is tried again."""
    bench = Bench()
    good = scored("good", unit(1))
    assert good.embeddings is not None
    broken = {
        "short": replace(good.embeddings, prompt=b"\x00\x00\x00"),
        "empty": replace(good.embeddings, conversation=b""),
        "zero": replace(good.embeddings, prompt=np.zeros(4, "<f4").tobytes()),
        "nan": replace(good.embeddings, prompt=np.full(4, np.nan, "<f4").tobytes()),
        "size": Embeddings("model", "1", unit(1)[:1].tobytes(), unit(1)[:1].tobytes()),
    }
    stray = replace(good, dossier=replace(good.dossier, sample=replace(good.dossier.sample, dataset_id="nowhere")))
    first, *others, unknown = await bench.place(good, *[replace(good, embeddings=each) for each in broken.values()], stray)
    assert placed(first).placement is not None
    assert [each.error_class for each in others if isinstance(each, Reject)] == ["UnusableEmbeddings"] * 4 + ["WrongDimensions"]
    assert isinstance(unknown, Retry)


async def test_vectors_off_unit_length_are_scaled() -> None:
    """A cosine is a cosine, whatever length the embedding came with."""
    bench = Bench()
    await bench.admitted(scored("a", unit(1)))
    [result] = await bench.place(scored("b", 3 * unit(1, 0.01)))
    placement = placed(result).placement
    assert placement is not None
    assert placement.duplicate_of is not None
    assert placement.duplicate_of.cosine == pytest.approx(float(unit(1) @ unit(1, 0.01)))


async def test_copies_of_a_prompt_wait_only_while_the_quota_is_at_stake() -> None:
    """With a quota of two and one accepted, the second goes on, the third waits, and both are counted once decided."""
    policy = Policy(
        diversity=DiversityBounds(near_duplicate_cosine=None), checks=(CheckRequest(check="duplicate_prompt", copies_max=2),)
    )
    bench = Bench(policy)
    await bench.admitted(scored("a", unit(1)))
    second, third, other = await bench.place(
        scored("b", unit(0, 1)), scored("c", unit(0, 0, 1)), scored("d", unit(0, 0, 0, 1), prompt="another")
    )
    assert placed(second).placement.prompt_copies == 1  # type: ignore[union-attr]
    assert placed(other).placement.prompt_copies == 0  # type: ignore[union-attr]
    assert held(third).held_behind == 103
    await bench.settle(placed(second), Verdict.ACCEPTED)
    [result] = await bench.recheck(held(third))
    assert placed(result).placement.prompt_copies == 2  # type: ignore[union-attr]


async def test_accepted_samples_that_the_index_does_not_know_are_dead_letters() -> None:
    """Without a pending point there are no embeddings to hand on: said plainly, and the others are settled."""
    bench = Bench()
    [first] = await bench.place(scored("a", unit(1)))
    known = placed(first)
    unknown = replace(known, sample=replace(known.sample, id="b"))
    unplaced = replace(known, placement=None)
    accepted = (Decision(Verdict.ACCEPTED, "because", "policy"),)
    events = [bench.event(DECIDED, replace(each, decisions=accepted)) for each in (unknown, known, unplaced)]
    results = await bench.diversity.settle(events)
    assert [type(result) for result in results] == [Reject, Emit, Reject]


async def test_an_index_that_is_gone_stops_the_handler() -> None:
    """Stop goes through: the runtime keeps the place and waits."""

    class Gone(ExactVectorIndex):
        async def enter(self, points):
            raise Stop("gone")

    diversity = Diversity(Gone(), lambda _: Policy())
    bench = Bench()
    with pytest.raises(Stop):
        await diversity.place([bench.event(SCORED, scored("a", unit(1)))])


async def test_a_rewrite_is_placed_with_its_cosine_to_its_parent():
    """Other samples have none."""
    bench = Bench()
    asked = rewrite(parent_embedding=unit(1, 1).astype("<f4").tobytes())
    made, other = scored("made", unit(1, 0)), scored("other", unit(0, 1))
    results = await bench.place(replace(made, dossier=replace(made.dossier, rewrite=asked)), other)
    emitted = [result for result in results if isinstance(result, Emit)]
    bodies = [send.body for result in emitted for send in result.sends if isinstance(send.body, Dossier)]
    cosines = [body.placement.parent_cosine for body in bodies if body.placement is not None]
    assert cosines == [pytest.approx(0.5**0.5), None]


async def test_a_row_that_comes_back_is_near_what_it_was_near_before() -> None:
    """Neither an accepted near copy nor one in flight is in its way, as they are in that of others."""
    bench = Bench(Policy(diversity=DiversityBounds(near_duplicate_cosine=0.99)))
    await bench.admitted(scored("there", unit(1, 0.01)))
    await bench.place(scored("flying", unit(0.01, 1)))
    for number, vector in enumerate((unit(1, 0), unit(0, 1))):
        plain = scored(f"back-{number}", vector, revision=1)
        sample = plain.dossier.sample
        again = replace(sample, id=f"again-{number}", origin=replace(sample.origin, restored_by="r1"))
        [other] = await bench.place(plain)
        if number:
            assert only(other, HELD)
        else:
            assert certain(placed(other).placement).duplicate_kind is DuplicateKind.NEAR
        again = replace(again, content_hash=f"hash of {again.id}")
        [result] = await bench.place(replace(plain, dossier=replace(plain.dossier, sample=again)))
        assert certain(placed(result).placement).duplicate_kind is DuplicateKind.NONE
