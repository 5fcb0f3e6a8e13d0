"""An id and revision belongs to the first content that was decided under it, also where that was rejected."""

from dataclasses import replace

import pytest

from headrace.core.dossiers import Decision, DuplicateKind, ScoredSample, Verdict
from headrace.core.retractions import RetractionRequested
from headrace.core.topics import DECIDED, PLACED, RETRACTION_REQUESTED
from services.diversity.retractions import Retracting
from tests.fakes.certain import certain
from tests.fakes.rewrites import rewrite
from tests.unit.services.diversity.test_handlers import Bench, held, placed, scored, unit

REJECTED = (Decision(Verdict.REJECTED, "because", "policy"),)


def a(text: str, revision: int = 0) -> ScoredSample:
    return scored("a", unit(1), revision=revision, text=text)


def rewritten(body: ScoredSample) -> ScoredSample:
    return replace(body, dossier=replace(body.dossier, rewrite=rewrite()))


def restored(body: ScoredSample) -> ScoredSample:
    sample = body.dossier.sample
    return replace(
        body, dossier=replace(body.dossier, sample=replace(sample, origin=replace(sample.origin, restored_by="round-1")))
    )


async def kind_of(bench: Bench, body: ScoredSample) -> DuplicateKind:
    """Places one sample, and rejects it so that nobody waits for it."""
    [result] = await bench.place(body)
    dossier = placed(result)
    await bench.settle(dossier, Verdict.REJECTED)
    return certain(dossier.placement).duplicate_kind


@pytest.mark.parametrize(
    ("revision", "text", "kind"),
    [
        (1, "first", DuplicateKind.NONE),
        (1, "other", DuplicateKind.REVISION_CONFLICT),
        (0, "other", DuplicateKind.NONE),
        (2, "other", DuplicateKind.NONE),
    ],
)
async def test_samples_submitted_again_after_a_rejection(revision: int, text: str, kind: DuplicateKind) -> None:
    """What a rejected revision 1 means for another submission: the same is decided again, other content is in conflict."""
    bench = Bench()
    await kind_of(bench, a("first", 1))
    [result] = await bench.place(a(text, revision))
    placement = certain(placed(result).placement)
    assert placement.duplicate_kind is kind
    assert (placement.duplicate_of is None) == (kind is DuplicateKind.NONE)


async def test_a_conflict_takes_nothing() -> None:
    """However often others try and whatever is replayed, the first content keeps its id and revision, and may be accepted yet."""
    bench = Bench()
    [result] = await bench.place(a("first"))
    await bench.settle(placed(result), Verdict.REJECTED)
    for text in ("second", "third", "second"):
        assert await kind_of(bench, a(text)) is DuplicateKind.REVISION_CONFLICT
        await bench.settle(placed(result), Verdict.REJECTED)
    await bench.admitted(a("first"))
    assert await kind_of(bench, a("first")) is DuplicateKind.ALREADY_ADMITTED
    assert await kind_of(bench, a("second")) is DuplicateKind.REVISION_CONFLICT
    request = RetractionRequested("world", "a", 0, "licence", "r", "ada")
    await Retracting(bench.index, lambda _: bench.policy).retract([bench.event(RETRACTION_REQUESTED, request)])
    assert [await kind_of(bench, a(text)) for text in ("first", "second")] == [DuplicateKind.RETRACTED] * 2


async def test_who_waits_for_the_first_finds_its_rejection() -> None:
    """Two contents in one batch: the second waits for the decision on the first, and is in conflict whichever it is."""
    for verdict in (Verdict.REJECTED, Verdict.ACCEPTED):
        bench = Bench()
        first, second = await bench.place(a("first"), a("second"))
        await bench.settle(placed(first), verdict)
        [result] = await bench.recheck(held(second))
        assert certain(placed(result).placement).duplicate_kind is DuplicateKind.REVISION_CONFLICT


async def test_a_duplicate_waits_for_the_first_and_takes_its_name_where_that_is_given_up() -> None:
    """A copy of an accepted sample is rejected for that; under the id and revision of one in flight it takes nothing from it."""
    bench = Bench()
    await bench.admitted(scored("there", unit(0, 1), text="copied"))
    first, copy = await bench.place(a("first"), scored("a", unit(0, 1), text="copied"))
    dossier = placed(first)
    await bench.diversity.release([bench.event(PLACED, dossier)])
    [result] = await bench.recheck(held(copy))
    assert certain(placed(result).placement).duplicate_kind is DuplicateKind.EXACT
    await bench.settle(placed(result), Verdict.REJECTED)
    assert await kind_of(bench, a("first")) is DuplicateKind.REVISION_CONFLICT


async def test_dead_letters_decide_nothing() -> None:
    """What was parked or given up leaves its id and revision to whoever comes."""
    bench = Bench()
    [first] = await bench.place(a("first"))
    await bench.diversity.release([bench.event(PLACED, placed(first))])
    assert await kind_of(bench, a("second")) is DuplicateKind.NONE
    assert await kind_of(bench, a("first")) is DuplicateKind.REVISION_CONFLICT


@pytest.mark.parametrize("made", [rewritten, restored])
async def test_rounds_and_clients_take_no_names_from_each_other(made) -> None:
    """What a round makes is placed though a client's was rejected under its id and revision, and the other way round."""
    bench = Bench()
    assert await kind_of(bench, a("a client's")) is DuplicateKind.NONE
    assert await kind_of(bench, made(a("a round's"))) is DuplicateKind.NONE
    assert await kind_of(bench, a("another")) is DuplicateKind.REVISION_CONFLICT
    assert await kind_of(bench, made(a("a round's", 7))) is DuplicateKind.NONE
    assert await kind_of(bench, a("a client's", 7)) is DuplicateKind.NONE


async def test_a_batch_of_decisions_counts_in_its_order() -> None:
    """Rejected without a placement a sample takes its name as well; of two decisions in one batch the first one counts."""
    bench = Bench()
    first, second = (replace(a(text).dossier, decisions=REJECTED) for text in ("first", "second"))
    await bench.diversity.settle([bench.event(DECIDED, first), bench.event(DECIDED, second)])
    assert await kind_of(bench, a("second")) is DuplicateKind.REVISION_CONFLICT
    assert await kind_of(bench, a("first")) is DuplicateKind.NONE
