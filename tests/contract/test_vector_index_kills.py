"""The engine in process survives kill -9 at any instant: what a call returned from is there, and nothing is half there."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.ports.vector_index import Content, PendingPoint, Question, Space, Standing, Submission, Vectors
from headrace.core.rejections import Rejection

SPACE = Space("kills", "model", "1")
DIMENSIONS = 32
YOUNG_POINTS_MAX = 150
BATCH = 10


def point_of(order: int) -> PendingPoint:
    vector = np.random.default_rng(order).normal(size=DIMENSIONS).astype(np.float32)
    vector /= np.linalg.norm(vector)
    return PendingPoint(Submission(SPACE, f"s{order}", 0, order), Content(f"c{order}", "p"), Vectors(vector, vector), time.time())


async def write(folder: Path, first: int) -> None:
    """Enters batches; accepts half of each and rejects a quarter; says what is done after each."""
    index = QdrantVectorIndex(EdgeEngine(folder, young_points_max=YOUNG_POINTS_MAX, flight_points_max=2 * YOUNG_POINTS_MAX))
    for order in range(first, 1_000_000, BATCH):
        points = [point_of(n) for n in range(order, order + BATCH)]
        await index.enter(points)
        await index.accept([point.submission for point in points if point.submission.order % 4 in (0, 1)])
        rejected = [point.submission for point in points if point.submission.order % 4 == 2]
        await index.reject(SPACE.dataset_id, [Rejection(each.sample_id, 0, f"c{each.order}") for each in rejected])
        await index.release(rejected)
        sys.stdout.write(f"{order + BATCH}\n")
        sys.stdout.flush()


async def check(folder: Path, done: int) -> None:
    index = QdrantVectorIndex(EdgeEngine(folder, young_points_max=YOUNG_POINTS_MAX, flight_points_max=2 * YOUNG_POINTS_MAX))
    try:
        points = [point_of(n) for n in range(done)]
        answers = await index.look([Question(p.submission, p.content, p.vectors, 0.999, 2) for p in points])
        for order, answer in enumerate(answers):
            assert answer.standing is (Standing.PENDING if order % 4 == 3 else Standing.SETTLED)
            assert bool(answer.akin) == (order % 4 in (0, 1))
            assert answer.rejected == (f"c{order}" if order % 4 == 2 else None)
        [census] = await index.census()
        # The batch in hand may be there in part; nothing else may.
        assert 0 <= census.accepted - sum(n % 4 in (0, 1) for n in range(done)) <= BATCH
        assert 0 <= census.pending - sum(n % 4 == 3 for n in range(done)) <= BATCH
    finally:
        await index.close()


@pytest.mark.timeout(180)
def test_nothing_written_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """A writer is killed again and again on one folder, between, in and after writes, while parts are sealed and merged."""
    choose = random.Random(7)
    folder, done = tmp_path / "index", 0
    for _ in range(8):
        command = [sys.executable, __file__, str(folder), str(done)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert child.stdout is not None
        line = child.stdout.readline()
        time.sleep(choose.uniform(0.0, 1.2))
        child.send_signal(signal.SIGKILL)
        done = int((child.stdout.read().split() or [line])[-1])
        child.wait()
        child.stdout.close()
        asyncio.run(check(folder, done))
    assert done > 10 * BATCH
    assert len(list((folder).glob("*.accepted/part-*"))) < 12, "parts are merged in spite of the kills"


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
