"""What every vector index must do, whatever it is made of: entering, looking, settling."""

from pathlib import Path

import numpy as np
import pytest

from headrace.adapters.vector_index.edge import EdgeEngine, IndexInUse
from headrace.core.ports.vector_index import (
    Space,
    Standing,
    Submission,
    Surroundings,
    VectorIndex,
)
from tests.fakes.vector_points import accepted, look, near, orders, pending, question, unit

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]


async def test_an_empty_space_surrounds_nothing(index: VectorIndex, space: Space) -> None:
    """A space nobody has written to answers with nothing."""
    answer = await look(index, pending(space, "a", 5, unit(1)))
    assert answer == Surroundings(Standing.UNKNOWN, (), (), None, (), 0, 0)


async def test_only_pending_points_of_lower_orders_are_earlier(index: VectorIndex, space: Space) -> None:
    """Of three alike that are entered at once, each sees those before it and none after it."""
    points = [pending(space, name, order, near(1, 0.001 * order)) for order, name in enumerate("abc", start=7)]
    await index.enter(points)
    answers = await index.look([question(point) for point in points])
    assert [orders(answer) for answer in answers] == [[], [7], [7, 8]]
    assert all(answer.standing is Standing.PENDING for answer in answers)
    assert answers[2].earlier[0].cosine == pytest.approx(float(near(1, 0.007) @ near(1, 0.009)), abs=1e-5)


async def test_far_ones_are_not_earlier(index: VectorIndex, space: Space) -> None:
    """Pending points below the cosine asked for do not stand in the way."""
    points = [pending(space, "a", 1, unit(1)), pending(space, "b", 2, near(1, 0.2))]
    await index.enter(points)
    assert orders(await look(index, points[1])) == []
    assert orders(await look(index, points[1], near_cosine=0.9)) == [1]
    assert orders(await look(index, points[1], near_cosine=None)) == []


async def test_the_same_content_is_found_whatever_the_vectors_say(index: VectorIndex, space: Space) -> None:
    """Equal content hashes count although the vectors differ, pending or accepted."""
    first, second = pending(space, "a", 1, unit(1), content="same"), pending(space, "b", 2, unit(2), content="same")
    await index.enter([first, second])
    assert orders(await look(index, second)) == [1]
    await index.accept([first.submission])
    answer = await look(index, second)
    assert orders(answer) == []
    assert [(each.sample_id, each.revision) for each in answer.akin] == [("a", 0)]
    assert answer.akin[0].cosine == pytest.approx(float(unit(1) @ unit(2)), abs=1e-5)
    assert answer.near is None


async def test_copies_of_a_prompt_are_reported_when_asked_for(index: VectorIndex, space: Space) -> None:
    """Pending submissions with the same prompt count only where a quota asks for them; accepted ones are counted always."""
    points = [pending(space, name, order, unit(order), prompt="q") for order, name in enumerate("abc")]
    await index.enter(points)
    assert orders(await look(index, points[2], copies=True)) == [0, 1]
    assert orders(await look(index, points[2])) == []
    await index.accept([points[0].submission])
    answer = await look(index, points[2], copies=True)
    assert (orders(answer), answer.prompt_copies, answer.compared_with) == ([1], 1, 1)


async def test_own_revisions_are_neither_neighbours_nor_copies(index: VectorIndex, space: Space) -> None:
    """A sample's own accepted revision is akin to it, but is no neighbour, no near-duplicate and no copy of its prompt."""
    await accepted(index, [pending(space, "a", 1, unit(1), prompt="q"), pending(space, "b", 2, unit(2), prompt="q")])
    later = pending(space, "a", 3, unit(1), revision=1, prompt="q")
    await index.enter([later])
    answer = await look(index, later, near_cosine=0.9)
    assert [(each.sample_id, each.revision) for each in answer.akin] == [("a", 0)]
    assert (answer.near, answer.prompt_copies, answer.compared_with) == (None, 1, 2)
    assert [each.sample_id for each in answer.neighbours] == ["b"]


async def test_neighbours_are_the_nearest_accepted_by_prompt(index: VectorIndex, space: Space) -> None:
    """Neighbours come best first, no more than asked for, and never from those in flight."""
    await accepted(index, [pending(space, f"s{n}", n, near(1, 0.1 * (n + 1))) for n in range(6)])
    await index.enter([pending(space, "in-flight", 10, unit(1))])
    answer = await look(index, pending(space, "x", 11, unit(1)), neighbours=3, near_cosine=0.99)
    assert [each.sample_id for each in answer.neighbours] == ["s0", "s1", "s2"]
    assert [each.cosine for each in answer.neighbours] == pytest.approx(
        [float(near(1, s) @ unit(1)) for s in (0.1, 0.2, 0.3)], abs=1e-5
    )
    assert answer.near is not None
    assert answer.near.sample_id == "s0"


async def test_entering_again_changes_nothing(index: VectorIndex, space: Space) -> None:
    """A redelivered submission keeps its point; a second submission of the same sample has one of its own."""
    first, again = pending(space, "a", 1, unit(1)), pending(space, "a", 2, unit(1))
    await index.enter([first])
    await index.enter([first])
    await index.enter([again])
    assert orders(await look(index, again)) == [1]
    assert await index.pending(space.dataset_id, [0, 1, 2, 3]) == {1, 2}
    assert [(each.pending, each.accepted) for each in await index.census() if each.space == space] == [(2, 0)]


async def test_a_settled_submission_cannot_be_entered_again(index: VectorIndex, space: Space) -> None:
    """Neither after a release nor after an acceptance does a late writer bring a pending point back."""
    rejected, admitted = pending(space, "a", 1, unit(1)), pending(space, "b", 2, unit(2))
    await index.enter([rejected, admitted])
    await index.release([rejected.submission])
    await index.accept([admitted.submission])
    assert list(await index.enter([rejected, admitted])) == ["", ""]
    assert await index.pending(space.dataset_id, [1, 2]) == frozenset()
    assert [answer.standing for answer in await index.look([question(rejected), question(admitted)])] == [Standing.SETTLED] * 2
    assert orders(await look(index, pending(space, "c", 3, unit(1)))) == []


async def test_a_released_submission_leaves_no_shadow(index: VectorIndex, space: Space) -> None:
    """Nothing that was released is found by content, by sample, by prompt or by cosine; releasing again does nothing."""
    point = pending(space, "a", 1, unit(1), content="same", prompt="q")
    await index.enter([point])
    await index.release([point.submission])
    await index.release([point.submission])
    answer = await look(index, pending(space, "a", 2, unit(1), content="same", prompt="q"), copies=True)
    assert answer == Surroundings(Standing.UNKNOWN, (), (), None, (), 0, 0)


async def test_release_spares_the_accepted_point_of_an_earlier_submission(index: VectorIndex, space: Space) -> None:
    """Turning a repeated submission away does not take away what was admitted."""
    await accepted(index, [pending(space, "a", 1, unit(1))])
    again = pending(space, "a", 2, unit(1))
    await index.enter([again])
    await index.release([again.submission])
    answer = await look(index, pending(space, "b", 3, unit(1)))
    assert answer.near is not None
    assert (answer.near.sample_id, answer.compared_with) == ("a", 1)


async def test_embeddings_come_back_bit_for_bit(index: VectorIndex, space: Space) -> None:
    """Accepting returns the vectors that were entered, and again when it is repeated."""
    point = pending(space, "a", 1, unit(1))
    await index.enter([point])
    for _ in range(2):
        [vectors] = await index.accept([point.submission])
        assert vectors is not None
        assert vectors.prompt.tobytes() == point.vectors.prompt.tobytes()
        assert vectors.conversation.tobytes() == point.vectors.conversation.tobytes()


async def test_accepting_the_unknown_returns_nothing(index: VectorIndex, space: Space) -> None:
    """A submission that was never entered, or that was released, has no embeddings."""
    known = pending(space, "a", 1, unit(1))
    await index.enter([known])
    await index.release([known.submission])
    assert list(await index.accept([known.submission, Submission(space, "b", 0, 9)])) == [None, None]


async def test_a_later_revision_takes_the_place_of_the_earlier(index: VectorIndex, space: Space) -> None:
    """After revision 1 is accepted nothing resembles revision 0 any more, and a late writer cannot bring it back."""
    old, new = pending(space, "a", 1, unit(1)), pending(space, "a", 2, unit(2), revision=1)
    await accepted(index, [old])
    await accepted(index, [new])
    probe = pending(space, "b", 3, unit(1))
    for _ in range(2):
        answer = await look(index, probe)
        assert (answer.near, answer.compared_with) == (None, 1)
        [vectors] = await index.accept([old.submission])
        assert vectors is not None
        assert vectors.prompt.tobytes() == old.vectors.prompt.tobytes()
    assert [each.revision for each in (await look(index, pending(space, "a", 4, unit(3), revision=2))).akin] == [1]


async def test_two_revisions_accepted_at_once_leave_the_higher(index: VectorIndex, space: Space) -> None:
    """A batch with both revisions of a sample ends with the later one, and with both embeddings in hand."""
    old, new = pending(space, "a", 1, unit(1)), pending(space, "a", 2, unit(2), revision=1)
    await index.enter([old, new])
    for _ in range(2):
        found = await index.accept([old.submission, new.submission])
        assert [each is not None and each.prompt.tobytes() for each in found] == [
            point.vectors.prompt.tobytes() for point in (old, new)
        ]
    assert [each.accepted for each in await index.census() if each.space == space] == [1]


async def test_models_never_meet_but_identity_does(index: VectorIndex, space: Space) -> None:
    """Vectors of another model version are not compared, whatever their size; contents and sample ids still are."""
    other = Space(space.dataset_id, space.model, "4")
    await accepted(index, [pending(space, "a", 1, unit(1), content="same")])
    await index.enter([pending(space, "b", 2, unit(2), content="flying")])
    small = np.array([1.0, 0.0], np.float32)
    answer = await look(index, pending(other, "c", 3, small, content="same"))
    assert [(each.sample_id, each.cosine) for each in answer.akin] == [("a", None)]
    assert (answer.near, answer.neighbours, answer.compared_with) == (None, (), 0)
    assert orders(await look(index, pending(other, "c", 4, small, content="flying"))) == [2]
    point = pending(other, "d", 5, small)
    await accepted(index, [point])
    assert [each.dimensions for each in await index.census() if each.space == other] == [2]


async def test_datasets_never_meet(index: VectorIndex, space: Space) -> None:
    """Another dataset sees nothing of this one."""
    await accepted(index, [pending(space, "a", 1, unit(1), content="same")])
    await index.enter([pending(space, "b", 2, unit(1), content="same")])
    other = Space(space.dataset_id + "x", space.model, space.model_version)
    assert await look(index, pending(other, "a", 3, unit(1), content="same")) == Surroundings(
        Standing.UNKNOWN, (), (), None, (), 0, 0
    )
    assert await index.pending(other.dataset_id, [1, 2]) == frozenset()


async def test_vectors_of_the_wrong_size_are_refused_alone(index: VectorIndex, space: Space) -> None:
    """One misfit in a batch is named; the others are entered."""
    await index.enter([pending(space, "a", 1, unit(1))])
    misfit = pending(space, "b", 2, np.array([1.0, 0.0], np.float32))
    refusals = await index.enter([misfit, pending(space, "c", 3, unit(3))])
    assert "[2] dimensions" in refusals[0]
    assert refusals[1] == ""
    assert await index.pending(space.dataset_id, [1, 2, 3]) == {1, 3}


async def test_sweeping_forgets_marks_and_abandoned_points(index: VectorIndex, space: Space) -> None:
    """Old marks go silently; old pending points go and are counted; young ones and accepted ones stay."""
    points = [pending(space, "a", 1, unit(1)), pending(space, "b", 2, unit(2)), pending(space, "c", 3, unit(3))]
    await index.enter(points)
    await index.accept([points[0].submission])
    await index.release([points[1].submission])
    assert await index.sweep(settled_before=0.0, entered_before=1_000.0) == 0
    assert await index.sweep(settled_before=1e11, entered_before=1_000.5) == 1
    assert await index.pending(space.dataset_id, [1, 2, 3]) == frozenset()
    answers = await index.look([question(point) for point in points])
    assert [answer.standing for answer in answers] == [Standing.UNKNOWN] * 3
    assert {answer.compared_with for answer in answers} == {1}


async def test_a_crowd_of_alike_is_reported_in_part(index: VectorIndex, space: Space) -> None:
    """Of very many near pending submissions some are reported, enough to wait; those with the same content all are."""
    crowd = [pending(space, f"s{n}", n, near(1, 1e-4), content="same" if n % 3 == 0 else "") for n in range(150)]
    await index.enter(crowd)
    found = orders(await look(index, pending(space, "x", 200, unit(1), content="same")))
    assert {n for n in range(150) if n % 3 == 0} <= set(found)
    assert len(found) >= 64


async def test_only_one_process_may_open_a_folder(tmp_path: Path) -> None:
    """A second opener is told what to stop, and the folder is free again after closing."""
    engine = EdgeEngine(tmp_path)
    with pytest.raises(IndexInUse, match="stop the diversity service"):
        EdgeEngine(tmp_path)
    await engine.close()
    await EdgeEngine(tmp_path).close()
