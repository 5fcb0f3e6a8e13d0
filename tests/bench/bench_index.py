"""The vector index as diversity uses it: batches are entered, looked at and settled while it grows to 10^5 points.

Clustered synthetic embeddings of 576 dimensions, the size of the default model's. Half of what is entered is accepted, as a
policy might; every sample costs two searches (near-duplicates by conversation, neighbours by prompt) and the identity lookups.
Recall is measured against exact search over the same accepted points. The machine is shared: processor time is given beside
wall time. `--points N` makes it smaller.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the services do; read when NumPy is imported

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.core.ports.vector_index import Content, PendingPoint, Question, Space, Submission, Vector, VectorIndex, Vectors

SPACE = Space("bench", "model", "1")
DIMENSIONS = 576
BATCH = 256
NEIGHBOURS = (2, 10)
SINGLES = 200
MIB = 1024 * 1024


class Source:
    """Clusters of embeddings. A batch follows from where it begins, so that it need not be kept to be compared with."""

    def __init__(self, points: int) -> None:
        self._middles = np.random.default_rng(0).normal(size=(max(10, points // 100), DIMENSIONS)).astype(np.float32)

    def vectors(self, first: int, count: int) -> tuple[Vector, Vector]:
        """Prompts and conversations, unit vectors around the middles: cosine to one's cluster about 0.67, to others about 0."""
        choose = np.random.default_rng(first)
        return self._around(choose, count), self._around(choose, count)

    def _around(self, choose: np.random.Generator, count: int) -> Vector:
        around = self._middles[choose.integers(0, len(self._middles), count)]
        moved = around + 0.7 * choose.standard_normal(size=(count, DIMENSIONS), dtype=np.float32)
        unit: Vector = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def batch(self, first: int, count: int) -> list[PendingPoint]:
        """Submissions in order."""
        prompts, conversations = self.vectors(first, count)
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


@dataclass
class Tenth:
    """What was measured since the last line."""

    enter_s: list[float] = field(default_factory=list)
    look_s: list[float] = field(default_factory=list)
    settle_s: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def line(self, accepted: int, parts: int) -> str:
        samples = len(self.look_s) * BATCH
        seconds, cpu_s = time.perf_counter() - self.began, time.process_time() - self.cpu
        return (
            f"{accepted:>9,} {samples / seconds:>10,.0f} {cpu_s / samples * 1000:>14.2f} {percentile(self.enter_s, 50):>9.1f} "
            f"{percentile(self.look_s, 50):>12.1f} {percentile(self.look_s, 99):>8.1f} {percentile(self.settle_s, 50):>10.1f} "
            f"{parts:>6} {resident_mib('RssAnon'):>8.0f} {resident_mib('RssFile'):>7.0f}"
        )


async def grow(index: VectorIndex, source: Source, points: int, folder: Path) -> int:
    """Enters and settles until so many are accepted, every second one; prints a line for each tenth; returns the samples."""
    first, lines, tenth = 0, 0, Tenth()
    print(" accepted  samples/s  cpu ms/sample  enter ms  look ms p50      p99  settle ms  parts  MiB own  mapped")
    while first < 2 * points:
        batch = source.batch(first, BATCH)
        first += BATCH
        spent = time.perf_counter()
        await index.enter(batch)
        entered = time.perf_counter()
        await index.look(questions_of(batch))
        looked = time.perf_counter()
        await index.accept([point.submission for point in batch[::2]])
        await index.release([point.submission for point in batch[1::2]])
        tenth.enter_s.append(entered - spent)
        tenth.look_s.append(looked - entered)
        tenth.settle_s.append(time.perf_counter() - looked)
        if first // 2 * 10 // points > lines:
            print(tenth.line(first // 2, len(parts_in(folder))), flush=True)
            lines, tenth = first // 2 * 10 // points, Tenth()
    return first


async def single_looks(index: VectorIndex, source: Source, first: int) -> None:
    """One sample at a time, as under a light load."""
    took = []
    for point in source.batch(first, SINGLES):
        began = time.perf_counter()
        await index.look(questions_of([point]))
        took.append(time.perf_counter() - began)
    print(f"one sample at a time: p50 {percentile(took, 50):.1f} ms, p99 {percentile(took, 99):.1f} ms")


async def recall(index: VectorIndex, source: Source, samples: int) -> None:
    """The share of the exact nearest neighbours that is found, and whether every near-duplicate is."""
    accepted = np.arange(0, samples, 2)
    batches = [source.vectors(first, BATCH) for first in range(0, samples, BATCH)]
    prompts = np.concatenate([prompt[::2] for prompt, _ in batches])
    conversations = np.concatenate([conversation[::2] for _, conversation in batches])
    probes = source.batch(10 * samples, SINGLES)
    for k in NEIGHBOURS:
        hits = 0
        for probe, answer in zip(probes, await index.look(questions_of(probes, k)), strict=True):
            best = accepted[np.argpartition(-(prompts @ probe.vectors.prompt), k)[:k]]
            hits += len({f"sample-{n}" for n in best} & {each.sample_id for each in answer.neighbours})
        print(f"recall@{k} of neighbours: {hits / (SINGLES * k):.4f}")
    chosen = np.random.default_rng(1).choice(len(accepted), SINGLES, replace=False)
    near = conversations[chosen] + 0.001 * source.vectors(12 * samples, SINGLES)[0]
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    twins = [
        Question(Submission(SPACE, f"twin-{n}", 0, 13 * samples + n), Content(f"twin-{n}", "twin"), Vectors(each, each), 0.999, 2)
        for n, each in enumerate(near)
    ]
    found = await index.look(twins)
    names = [f"sample-{n}" for n in accepted[chosen]]
    right = sum(answer.near is not None and answer.near.sample_id == name for answer, name in zip(found, names, strict=True))
    print(f"near-duplicates found: {right} of {SINGLES}")


def parts_in(folder: Path) -> list[Path]:
    """The parts that a search visits, and for a moment what a merge is building."""
    return list(folder.glob("*.accepted/part-*"))


async def at_rest(folder: Path) -> None:
    """Waits until nothing is merged any more."""
    before: list[Path] = []
    while before != (before := await asyncio.to_thread(parts_in, folder)):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(10)


def disk_use(folder: Path) -> str:
    """How much the index takes, and in how many parts."""
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    return f"on disk: {size / MIB:,.0f} MiB; accepted points in {len(parts_in(folder))} parts"


async def main() -> None:
    """Grows an index in a temporary folder and measures it on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="accepted points at the end")
    points = parser.parse_args().points
    source = Source(points)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = QdrantVectorIndex(EdgeEngine(folder))
        samples = await grow(index, source, points, folder)
        await at_rest(folder)
        await single_looks(index, source, 11 * samples)
        await recall(index, source, samples)
        print(await asyncio.to_thread(disk_use, folder))
        await index.close()


if __name__ == "__main__":
    asyncio.run(main())
