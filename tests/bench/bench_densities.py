"""Neighbourhood density over a closed set, exact, as a round computes it: time, memory, and the law by which it grows.

Clustered synthetic embeddings of 576 dimensions, the size of the default model's, in a mapped file as diversity keeps them. All
rows are queried, block by block; a sample of them is held against the whole product in double precision. The machine is shared:
processor time is given beside wall time. `--rows N` sets the size; `--blocks N` queries so many blocks and scales the time up.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np

from headrace.core.rounds.densities import QUERY_ROWS, Vectors, nearest

DIMENSIONS = 576
NEIGHBOURS = 2
CHECKED = 200
LARGE = 100_000
RECALL_MIN = 0.99
MEMORY_MIB_MAX = 512
_MIB = 1024 * 1024


def write_vectors(path: Path, rows: int) -> Vectors:
    """Unit vectors around middles, a hundred to each; every fiftieth is an exact copy of the one before."""
    choose = np.random.default_rng(0)
    middles = choose.standard_normal((max(10, rows // 100), DIMENSIONS), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, rows, 4_096):
            count = min(4_096, rows - start)
            moved = middles[choose.integers(0, len(middles), count)] + 0.7 * choose.standard_normal((count, DIMENSIONS))
            moved[50::50] = moved[49 : count - 1 : 50]
            file.write((moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype("<f4").tobytes())
    return np.memmap(path, dtype="<f4", mode="r").reshape(rows, DIMENSIONS)


class Memory:
    """The most memory of its own that the process had at any time since it began to be watched; the mapped file is not in it."""

    def __init__(self) -> None:
        self._before = _own_mib()
        self.peak_mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.peak_mib = max(self.peak_mib, _own_mib() - self._before)


def _own_mib() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


def hits(vectors: Vectors, row: int, found: list[int]) -> int:
    """How many of the rows found belong among the nearest by one product with everything in double precision.

    Copies are as near as each other: a row belongs where its cosine is not below the k-th best.
    """
    products = np.concatenate(
        [np.asarray(vectors[at : at + 8_192]).astype(np.float64) @ vectors[row].astype(np.float64)
         for at in range(0, len(vectors), 8_192)]
    )  # fmt: skip
    products[row] = -np.inf
    least = np.partition(products, -NEIGHBOURS)[-NEIGHBOURS]
    return int(np.count_nonzero(products[found] >= least - 1e-12))


def main() -> None:
    """Prints the figures; fails where neighbours are missed or memory is not bounded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--blocks", type=int, default=0, help="0: all of them.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vectors = write_vectors(Path(folder) / "vectors.f32", arguments.rows)
        firsts = range(0, arguments.rows, QUERY_ROWS)
        asked = firsts[: arguments.blocks] if arguments.blocks else firsts
        found: dict[int, list[int]] = {}
        began, cpu = time.perf_counter(), time.process_time()
        with Memory() as memory:
            for first in asked:
                near = nearest(vectors, first, min(QUERY_ROWS, arguments.rows - first), NEIGHBOURS)
                if near is None:
                    raise SystemExit("too few rows")
                found.update({first + n: rows for n, rows in enumerate(near.rows.tolist())})
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        checked = np.random.default_rng(1).choice(sorted(found), min(CHECKED, len(found)), replace=False).tolist()
        recall = sum(hits(vectors, row, found[row]) for row in checked) / NEIGHBOURS / len(checked)
    whole = seconds * len(firsts) / len(asked)
    at_large = whole * (LARGE / arguments.rows) ** 2
    products = len(found) * arguments.rows * DIMENSIONS * 2
    print(
        f"{arguments.rows:,} vectors of {DIMENSIONS}, k = {NEIGHBOURS}: {len(asked)} of {len(firsts)} blocks in {seconds:.1f} s"
    )
    print(f"{cpu_s:.1f} s of processor; all blocks {whole:.0f} s")
    print(f"{products / seconds / 1e9:.0f} GFLOP/s; time grows with the square of the rows: {at_large:.0f} s at {LARGE:,}")
    print(f"own memory +{memory.peak_mib:.0f} MiB (a matrix of all pairs: {arguments.rows**2 * 4 / _MIB:,.0f} MiB)")
    print(f"recall of neighbours {recall:.4f} over {len(checked)} rows against the whole product")
    if recall < RECALL_MIN or memory.peak_mib > MEMORY_MIB_MAX:
        raise SystemExit(f"recall is to be at least {RECALL_MIN}, memory at most {MEMORY_MIB_MAX} MiB")


if __name__ == "__main__":
    main()
