"""Clearing a space of the engine in process, interrupted: the index opens, and takes samples as if it had never been filled."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.events import Stop
from headrace.core.ports.vector_index import AcceptedPoint, PendingPoint, Space, VectorIndex
from tests.fakes.vector_points import accepted, look, pending, unit

SPACE = Space("cleared", "model", "1")


class Killed(BaseException):
    """The process ends here."""


def loaded(point: PendingPoint) -> AcceptedPoint:
    of = point.submission
    return AcceptedPoint(of.space, of.sample_id, of.revision, point.content, point.vectors)


def in_the_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path) -> None:
        monkeypatch.undo()
        [part] = path.glob("part-*")
        shutil.rmtree(part)
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", half)


def before_it_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise Killed

    monkeypatch.setattr(EdgeEngine, "create", never)


async def goes_on(index: VectorIndex) -> None:
    """What was accepted is gone, what is in flight is there, and both ways to accept work."""
    assert list(await index.load([loaded(pending(SPACE, "c", 3, unit(3)))])) == [True]
    [landed] = await index.accept([pending(SPACE, "b", 2, unit(2)).submission])
    assert landed is not None
    [census] = await index.census()
    assert (census.accepted, census.pending) == (2, 0)
    answer = await look(index, pending(SPACE, "d", 4, unit(2)), near_cosine=0.9)
    assert answer.near is not None
    assert answer.near.sample_id == "b"


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("killed", [in_the_removal, before_it_is_made_anew])
async def test_a_clearing_that_ends_half_way_leaves_an_index_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: Callable[[pytest.MonkeyPatch], None], *, again: bool
) -> None:
    """Wherever it ends, in the process that goes on and in one that opens the folder."""
    index = QdrantVectorIndex(EdgeEngine(tmp_path))
    await accepted(index, [pending(SPACE, "a", 1, unit(1))])
    await index.enter([pending(SPACE, "b", 2, unit(2))])
    killed(monkeypatch)
    with pytest.raises(Killed):
        await index.clear(SPACE)
    if again:
        await index.close()
        index = QdrantVectorIndex(EdgeEngine(tmp_path))
    await goes_on(index)
    await index.close()


async def test_a_collection_that_was_dropped_half_way_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what it held comes back where the disk failed while it was removed."""
    index = QdrantVectorIndex(EdgeEngine(tmp_path))
    await accepted(index, [pending(SPACE, "a", 1, unit(1))])

    def failing(_: Path) -> None:
        monkeypatch.undo()
        raise OSError

    monkeypatch.setattr(shutil, "rmtree", failing)
    with pytest.raises(Stop):
        await index.clear(SPACE)
    [census] = await index.census()
    assert census.accepted == 0
    await index.close()
