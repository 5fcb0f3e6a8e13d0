"""What every vector index must do with what was rejected: tell whose an id and revision is, and nothing else."""

from dataclasses import replace

import pytest

from headrace.core.ports.vector_index import PendingPoint, Space, Standing, Surroundings, VectorIndex
from headrace.core.rejections import Rejection
from tests.fakes.vector_points import accepted, look, pending, question, unit

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

NOTHING = Surroundings(Standing.UNKNOWN, (), (), None, (), 0, 0)


async def rejected_under(index: VectorIndex, points: list[PendingPoint]) -> list[str | None]:
    return [each.rejected for each in await index.look([question(point) for point in points])]


async def test_an_id_and_revision_belongs_to_the_first_content_rejected_under_it(index: VectorIndex, space: Space) -> None:
    """Said again, or later of other content, it stays; other revisions, ids and datasets have none, nor has who does not ask."""
    await index.reject(space.dataset_id, [Rejection("a", 1, "first"), Rejection("b", 1, "theirs"), Rejection("a", 1, "second")])
    for content in ("first", "third"):
        await index.reject(space.dataset_id, [Rejection("a", 1, content)])
    elsewhere = Space(f"{space.dataset_id}-other", space.model, space.model_version)
    asked = [
        pending(space, "a", 1, unit(1), revision=1),
        pending(space, "a", 2, unit(1), revision=2),
        pending(space, "b", 3, unit(1), revision=1),
        pending(space, "c", 4, unit(1), revision=1),
        pending(elsewhere, "a", 5, unit(1), revision=1),
    ]
    assert await rejected_under(index, asked) == ["first", None, "theirs", None, None]
    [unasked] = await index.look([replace(question(asked[0]), rejected=False)])
    assert unasked == NOTHING


async def test_it_holds_whatever_the_model(index: VectorIndex, space: Space) -> None:
    """A new model version has a space of its own, and the same identities."""
    await index.enter([pending(space, "x", 1, unit(1))])
    await index.reject(space.dataset_id, [Rejection("a", 0, "first")])
    new = Space(space.dataset_id, space.model, "4")
    assert await rejected_under(index, [pending(new, "a", 2, unit(1)), pending(space, "a", 3, unit(1))]) == ["first", "first"]


async def test_a_rejection_is_no_shadow(index: VectorIndex, space: Space) -> None:
    """What was rejected is not found by content, prompt or cosine, is not waited for, and is not counted."""
    await accepted(index, [pending(space, "there", 1, unit(7), prompt="another")])
    point = pending(space, "a", 2, unit(1), content="same", prompt="q")
    await index.enter([point])
    await index.reject(space.dataset_id, [Rejection("a", 0, "same")])
    before = await index.census()
    await index.release([point.submission])
    answer = await look(index, pending(space, "b", 3, unit(1), content="same", prompt="q"), copies=True)
    assert (answer.earlier, answer.akin, answer.near, answer.prompt_copies, answer.compared_with) == ((), (), None, 0, 1)
    assert [each.sample_id for each in answer.neighbours] == ["there"]
    again = await look(index, pending(space, "a", 4, unit(1), content="other", prompt="q"), copies=True)
    assert again == replace(answer, rejected="same")
    assert [(each.space, each.accepted, each.pending) for each in await index.census()] == [
        (each.space, each.accepted, each.pending - (each.space == space)) for each in before
    ]


async def test_it_is_kept_for_good(index: VectorIndex, space: Space) -> None:
    """Neither sweeping nor dropping the accepted points forgets it, nor accepting and retracting the sample."""
    point = pending(space, "a", 1, unit(1), content="first")
    await accepted(index, [point])
    await index.reject(space.dataset_id, [Rejection("a", 0, "first")])
    await index.retract(space.dataset_id, [("a", 0)])
    await index.sweep(settled_before=1e11, entered_before=1e11)
    await index.clear(space)
    answer = await look(index, pending(space, "a", 2, unit(1), content="other"))
    assert answer == replace(NOTHING, retracted=0, rejected="first")


async def test_many_are_told_apart(index: VectorIndex, space: Space) -> None:
    """Also where the collection grows over several parts, and what is said again meets what is in the older ones."""
    for start in range(0, 60, 6):
        names = range(max(0, start - 6), start + 6)
        await index.reject(space.dataset_id, [Rejection(f"s{n}", n % 3, f"{start // 6}") for n in names])
    asked = [pending(space, f"s{n}", 100 + n, unit(1), revision=n % 3) for n in range(60)]
    assert await rejected_under(index, asked) == [str(n // 6) for n in range(60)]
