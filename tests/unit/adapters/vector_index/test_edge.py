"""The engine in process stays bounded where building graphs stays behind writing."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.events import Stop
from headrace.core.ports.vector_index import Content, PendingPoint, Question, Space, Standing, Submission, Vectors

SPACE = Space("bounded", "model", "1")
YOUNG, FULL, BATCH = 10, 2, 5


def point_of(order: int) -> PendingPoint:
    vector = np.random.default_rng(order).normal(size=8).astype(np.float32)
    vector /= np.linalg.norm(vector)
    return PendingPoint(Submission(SPACE, f"s{order}", 0, order), Content(f"c{order}", "p"), Vectors(vector, vector), time.time())


@pytest.fixture
def let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Merges go on once this is called, and until then never end."""
    path, merger = tmp_path / "go", tmp_path / "merger"
    merger.write_text(f'#!/bin/sh\nwhile [ ! -e {path} ]; do sleep 0.05; done\nexec {sys.executable} "$@"\n')
    merger.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(merger))
    return path.touch


def engine_in(folder: Path, wait_s_max: float) -> EdgeEngine:
    return EdgeEngine(
        folder, young_points_max=YOUNG, flight_points_max=YOUNG, unbuilt_parts_max=FULL, build_wait_s_max=wait_s_max
    )


async def enter(index: QdrantVectorIndex, numbers: range) -> None:
    for first in numbers[::BATCH]:
        await index.enter([point_of(n) for n in range(first, min(first + BATCH, numbers.stop))])


async def standings(index: QdrantVectorIndex, count: int) -> list[Standing]:
    points = [point_of(n) for n in range(count)]
    found = await index.look([Question(p.submission, p.content, p.vectors, 0.999, 2) for p in points])
    return [each.standing for each in found]


async def test_writing_stops_while_no_graph_is_built_and_reading_does_not(
    tmp_path: Path, let_go: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried, no more is kept in memory than the bound; it is told once, and undone once there is room."""
    index = QdrantVectorIndex(engine_in(tmp_path / "index", 0.2))
    with pytest.raises(Stop, match="HEADRACE_DIVERSITY_INDEX_UNBUILT_PARTS_MAX"):
        await enter(index, range(1_000))
    for _ in range(3):
        with pytest.raises(Stop):
            await enter(index, range(500, 505))
        with pytest.raises(Stop):
            await index.release([point_of(1).submission])
    [census] = await index.census()
    assert FULL * YOUNG - 1 <= census.pending <= FULL * (YOUNG + BATCH)
    assert set(await standings(index, census.pending)) == {Standing.PENDING}
    assert caplog.text.count("waits for the oldest") == 1
    assert not await index.pending(SPACE.dataset_id, [500])
    let_go()
    async with asyncio.timeout(60):
        while not await index.pending(SPACE.dataset_id, [500]):
            try:
                await enter(index, range(500, 505))
            except Stop:
                continue
    await index.close()


async def test_a_write_that_waits_goes_on_when_a_graph_is_there(tmp_path: Path, let_go: Callable[[], None]) -> None:
    """Nobody sees more of it than that it took a while; meanwhile the event loop and whoever searches go on."""
    index = QdrantVectorIndex(engine_in(tmp_path / "index", 120.0))
    entering = asyncio.create_task(enter(index, range(40)))
    seen = 0
    async with asyncio.timeout(60):
        while seen < FULL * YOUNG - 1:
            await asyncio.sleep(0.02)
            seen = sum(each.pending for each in await index.census())
    await asyncio.sleep(0.3)
    assert not entering.done()
    assert set(await standings(index, seen)) == {Standing.PENDING}
    let_go()
    async with asyncio.timeout(60):
        await entering
    assert await standings(index, 40) == [Standing.PENDING] * 40
    await index.close()


@pytest.mark.usefixtures("let_go")
async def test_an_index_is_closed_while_a_write_waits_for_a_merge_that_never_ends(tmp_path: Path) -> None:
    """The service can be stopped, and finds everything when it starts again."""
    index = QdrantVectorIndex(engine_in(tmp_path / "index", 120.0))
    entering = asyncio.create_task(enter(index, range(100)))
    seen = 0
    async with asyncio.timeout(60):
        while seen < FULL * YOUNG - 1:
            await asyncio.sleep(0.02)
            seen = sum(each.pending for each in await index.census())
    entering.cancel()
    await asyncio.gather(entering, return_exceptions=True)
    await index.close()
    again = QdrantVectorIndex(engine_in(tmp_path / "index", 0.2))
    assert set(await standings(again, seen)) == {Standing.PENDING}
    await again.close()
