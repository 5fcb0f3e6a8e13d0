"""The vector index as diversity uses it: batches are entered, looked at and settled while it grows to 10^5 points.

Clustered synthetic embeddings of 576 dimensions, the size of the default model's. Half of what is entered is accepted, as a
policy might; every sample costs two searches (near-duplicates by conversation, neighbours by prompt) and the identity lookups.
Recall is measured against exact search over the same accepted points. The machine is shared: processor time is given beside
wall time. `--points N` makes it smaller.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.ports.vector_index import Content, PendingPoint, Question, Space, Submission, Vector, VectorIndex, Vectors

SPACE = Space("bench", "model", "1")
DIMENSIONS = 576
BATCH = 256
NEIGHBOURS = 10
SINGLES = 200
MIB = 1024 * 1024


class Source:
    """Clusters of embeddings; the same seed gives the same ones."""

    def __init__(self, points: int) -> None:
        self._random = np.random.default_rng(0)
        self._middles = self._random.normal(size=(max(10, points // 100), DIMENSIONS)).astype(np.float32)

    def vectors(self, count: int) -> Vector:
        """Unit vectors around the middles: cosine to one's cluster about 0.67, to others about 0."""
        around = self._middles[self._random.integers(0, len(self._middles), count)]
        moved = around + 0.7 * self._random.normal(size=(count, DIMENSIONS)).astype(np.float32)
        unit: Vector = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def batch(self, first: int, count: int) -> list[PendingPoint]:
        """Submissions in order."""
        prompts, conversations = self.vectors(count), self.vectors(count)
        return [
            PendingPoint(
                Submission(SPACE, f"sample-{first + n}", 0, first + n),
                Content(f"content-{first + n}", f"prompt-{(first + n) // 4}"),
                Vectors(prompts[n], conversations[n]),
                time.time(),
            )
            for n in range(count)
        ]


def resident_mib(kind: str) -> float:
    """Memory of this process: RssAnon is its own, RssFile the index's files as far as they are in memory."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{kind}:")]
    return int(line.split()[1]) / 1024


def questions_of(points: list[PendingPoint], neighbours: int = 2) -> list[Question]:
    return [Question(point.submission, point.content, point.vectors, 0.999, neighbours) for point in points]


def percentile(seconds: list[float], share: float) -> float:
    return float(np.percentile(seconds, share)) * 1000 if seconds else 0.0


async def grow(index: VectorIndex, source: Source, points: int) -> list[PendingPoint]:
    """Enters and settles until so many are accepted; prints a line for each tenth."""
    accepted: list[PendingPoint] = []
    first, step = 0, points // 10
    enter_s: list[float] = []
    look_s: list[float] = []
    settle_s: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    print(" accepted  samples/s  cpu ms/sample  enter ms  look ms p50      p99  settle ms  MiB own  mapped")
    while len(accepted) < points:
        batch = source.batch(first, BATCH)
        first += BATCH
        spent = time.perf_counter()
        await index.enter(batch)
        entered = time.perf_counter()
        await index.look(questions_of(batch))
        looked = time.perf_counter()
        await index.accept([point.submission for point in batch[::2]])
        await index.release([point.submission for point in batch[1::2]])
        settled = time.perf_counter()
        enter_s.append(entered - spent)
        look_s.append(looked - entered)
        settle_s.append(settled - looked)
        accepted += batch[::2]
        if len(accepted) // step > (len(accepted) - BATCH // 2) // step:
            samples, now = len(look_s) * BATCH, time.perf_counter()
            print(
                f"{len(accepted):>9,} {samples / (now - began):>10,.0f} {(time.process_time() - cpu) / samples * 1000:>14.2f} "
                f"{percentile(enter_s, 50):>9.1f} {percentile(look_s, 50):>12.1f} {percentile(look_s, 99):>8.1f} "
                f"{percentile(settle_s, 50):>10.1f} {resident_mib('RssAnon'):>8.0f} {resident_mib('RssFile'):>7.0f}",
                flush=True,
            )
            enter_s, look_s, settle_s = [], [], []
            began, cpu = time.perf_counter(), time.process_time()
    return accepted


async def single_looks(index: VectorIndex, source: Source, first: int) -> None:
    """One sample at a time, as under a light load."""
    took = []
    for point in source.batch(first, SINGLES):
        began = time.perf_counter()
        await index.look(questions_of([point]))
        took.append(time.perf_counter() - began)
    print(f"one sample at a time: p50 {percentile(took, 50):.1f} ms, p99 {percentile(took, 99):.1f} ms")


async def recall(index: VectorIndex, source: Source, accepted: list[PendingPoint], first: int) -> None:
    """The share of the exact nearest neighbours that is found, and whether every near-duplicate is."""
    everything = np.stack([point.vectors.prompt for point in accepted])
    probes = source.batch(first, SINGLES)
    answers = await index.look(questions_of(probes, NEIGHBOURS))
    names = np.array([point.submission.sample_id for point in accepted])
    hits = 0
    for probe, answer in zip(probes, answers, strict=True):
        exact = set(names[np.argpartition(-(everything @ probe.vectors.prompt), NEIGHBOURS)[:NEIGHBOURS]].tolist())
        hits += len(exact & {each.sample_id for each in answer.neighbours})
    print(f"recall@{NEIGHBOURS} of neighbours: {hits / (SINGLES * NEIGHBOURS):.4f}")
    chosen = np.random.default_rng(1).choice(len(accepted), SINGLES, replace=False)
    twins = []
    for number, place in enumerate(chosen.tolist()):
        near = accepted[place].vectors.conversation + 0.001 * source.vectors(1)[0]
        near = (near / np.linalg.norm(near)).astype(np.float32)
        submission = Submission(SPACE, f"twin-{number}", 0, first + SINGLES + number)
        twins.append(PendingPoint(submission, Content(f"twin-{number}", "twin"), Vectors(near, near), 0.0))
    found = await index.look(questions_of(twins))
    right = sum(
        answer.near is not None and answer.near.sample_id == accepted[place].submission.sample_id
        for answer, place in zip(found, chosen.tolist(), strict=True)
    )
    print(f"near-duplicates found: {right} of {SINGLES}")


def disk_use(folder: Path) -> str:
    """How much the index takes, and how many parts a search visits."""
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    parts = len(list(folder.glob("*.accepted/part-*")))
    return f"on disk: {size / MIB:,.0f} MiB; accepted points in {parts} parts"


async def main() -> None:
    """Grows an index in a temporary folder and measures it on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="accepted points at the end")
    points = parser.parse_args().points
    source = Source(points)
    with tempfile.TemporaryDirectory() as folder:
        index = QdrantVectorIndex(EdgeEngine(Path(folder)))
        accepted = await grow(index, source, points)
        await single_looks(index, source, 10 * points)
        await recall(index, source, accepted, 11 * points)
        print(await asyncio.to_thread(disk_use, Path(folder)))
        await index.close()


if __name__ == "__main__":
    asyncio.run(main())
