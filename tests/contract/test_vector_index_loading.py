"""What every vector index must do with points that are loaded into it, and with those that are taken back."""

import pytest

from headrace.core.ports.vector_index import AcceptedPoint, Content, Space, Submission, VectorIndex, Vectors
from tests.fakes.vector_points import accepted, look, near, pending, unit

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]


async def test_an_index_is_rebuilt_from_accepted_points(index: VectorIndex, space: Space) -> None:
    """Cleared and loaded again it answers as before, and those in flight were not touched."""
    points = [pending(space, name, order, unit(order), prompt="q") for order, name in enumerate("abc")]
    await index.enter([*points, pending(space, "in-flight", 9, unit(9))])
    await index.accept([point.submission for point in points])
    probe = pending(space, "x", 11, near(1, 0.001), prompt="q")
    before = await look(index, probe)
    await index.clear(space)
    assert (await look(index, probe)).compared_with == 0
    load = [AcceptedPoint(space, p.submission.sample_id, p.submission.revision, p.content, p.vectors) for p in points]
    await index.load(load)
    await index.load(load[:1])
    assert await look(index, probe) == before
    assert before.near is not None
    assert before.near.sample_id == "b"
    assert await index.pending(space.dataset_id, [9]) == {9}
    moved = pending(space, "a", 12, unit(5), revision=1)
    await accepted(index, [moved])
    await index.load(load[:1])
    assert [each.revision for each in (await look(index, pending(space, "a", 13, unit(7), revision=2))).akin] == [1]
    with pytest.raises(ValueError, match="dimensions"):
        await index.load([AcceptedPoint(space, "y", 0, Content("c", "p"), Vectors(unit(1)[:4], unit(1)[:4]))])


async def test_a_retraction_is_kept_and_what_it_covers_forgotten(index: VectorIndex, space: Space) -> None:
    """Accepted revisions up to the retracted one leave every space, a higher one stays; the rule is told whoever asks."""
    other = Space(space.dataset_id, "another model", "1")
    points = [pending(space, "a", 1, unit(1)), pending(other, "b", 2, unit(2)), pending(space, "c", 3, unit(3), revision=2)]
    await accepted(index, points)
    for _ in range(2):
        await index.retract(space.dataset_id, [("a", 0), ("b", 1), ("c", 1), ("unknown", 0)])
    await index.retract(space.dataset_id, [("b", 0)])
    found = await index.retracted({space.dataset_id: {"a", "b", "c", "d"}, f"{space.dataset_id}-other": {"a"}})
    assert {name: dict(reach) for name, reach in found.items() if reach} == {space.dataset_id: {"a": 0, "b": 1, "c": 1}}
    censuses = [each for each in await index.census() if each.space.dataset_id == space.dataset_id]
    assert sum(each.accepted for each in censuses) == 1
    answer = await look(index, pending(space, "a", 9, unit(1)))
    assert (answer.retracted, answer.akin, answer.near) == (0, (), None)
    assert (await look(index, pending(space, "d", 10, unit(1)))).retracted is None
    assert (await look(index, pending(space, "e", 11, unit(3)))).near is not None


async def test_what_is_retracted_on_its_way_can_be_accepted_and_retracted_again(index: VectorIndex, space: Space) -> None:
    """A pending point outlives the rule; whoever accepts it takes it back, and then it is gone."""
    point = pending(space, "a", 1, unit(1))
    await index.enter([point])
    await index.retract(space.dataset_id, [("a", 0)])
    await index.accept([point.submission])
    await index.retract(space.dataset_id, [("a", 0)])
    assert (await look(index, pending(space, "b", 2, unit(1)))).near is None
    [census] = [each for each in await index.census() if each.space == space]
    assert (census.accepted, census.pending) == (0, 0)


async def test_what_does_not_stand_any_more_is_not_loaded(index: VectorIndex, space: Space) -> None:
    """Into a new model's space too: neither a revision that a later one replaced, nor what is retracted; loading says which."""
    new = Space(space.dataset_id, space.model, "4")
    await index.enter([pending(space, "a", 1, unit(1)), pending(space, "b", 2, unit(2)), pending(space, "c", 3, unit(3))])
    await index.accept([Submission(space, each, 0, order) for each, order in (("a", 1), ("b", 2), ("c", 3))])
    later = pending(space, "a", 4, unit(4), revision=1)
    await index.enter([later])
    await index.accept([later.submission])
    await index.retract(space.dataset_id, [("b", 0)])
    rows = [AcceptedPoint(new, each, 0, Content(f"content-{each}-0", "p"), Vectors(unit(9), unit(9))) for each in "abc"]
    for _ in range(2):
        assert list(await index.load(rows)) == [False, False, True]
    answer = await look(index, pending(new, "x", 5, unit(9)))
    assert (answer.compared_with, [each.sample_id for each in answer.neighbours]) == (1, ["c"])
    assert answer.near is not None
    assert answer.near.sample_id == "c"


async def test_a_sample_in_two_spaces_is_one_copy_of_its_prompt(index: VectorIndex, space: Space) -> None:
    """Surveyed with a new model it lies in the old and the new space; a quota on prompts counts it once, and never itself."""
    new = Space(space.dataset_id, space.model, "4")
    for each, spaces in (("a", (space, new)), ("b", (space,)), ("c", (new,))):
        for of in spaces:
            await index.load([AcceptedPoint(of, each, 0, Content(f"content-{each}", "p"), Vectors(unit(1), unit(1)))])
    assert (await look(index, pending(new, "x", 1, unit(5)))).prompt_copies == 3
    assert (await look(index, pending(new, "a", 2, unit(5), revision=1))).prompt_copies == 2
    assert (await look(index, pending(space, "x", 3, unit(5)))).prompt_copies == 3


async def test_a_later_revision_takes_the_place_of_one_that_was_loaded(index: VectorIndex, space: Space) -> None:
    """Also where the earlier revision was loaded into another space."""
    new = Space(space.dataset_id, space.model, "4")
    assert list(await index.load([AcceptedPoint(new, "a", 0, Content("c0", "p"), Vectors(unit(1), unit(1)))])) == [True]
    later = pending(space, "a", 1, unit(2), revision=1)
    await index.enter([later])
    await index.accept([later.submission])
    answer = await look(index, pending(new, "x", 2, unit(1)))
    assert (answer.compared_with, answer.near) == (0, None)
