"""Thresholds and selection over a round's signal table: `python -m tests.bench.bench_selection [ROWS...]` (default 1,000,000).

Rows are selected in both modes and with shares to be solved for; "plain" reads the same columns once with pyarrow and computes
means and deviations with NumPy, all in memory. "+RSS" is what the scan adds to the process at its peak.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.adapters.rounds.selection_scan import Selection, select
from headrace.adapters.rounds.signal_table import SIGNAL_TABLE, SignalFile
from headrace.adapters.versions.shards import ShardLimits, write_shards
from headrace.core.dossiers import JUDGED
from headrace.core.rounds.rules import AxisRule, Mode, SelectionRules
from tests.fakes.certain import certain

SECONDS_MAX = 5.0
"""Of a million rows: what a round may take between its barrier and its first rewrite."""

TENTH = AxisRule(target_share=0.1)
CASES = {
    "headrace": SelectionRules(),
    "shares": SelectionRules(hard=TENTH, sparse=TENTH, low_quality=TENTH),
    "middo_compat": SelectionRules(mode=Mode.MIDDO_COMPAT),
}
STRETCH_ROWS = 50_000


def stretches(rows: int):
    """The table, a stretch at a time; one row in a thousand is marked as not made, with numbers that poison nothing."""
    chance = np.random.default_rng(1)
    for start in range(0, rows, STRETCH_ROWS):
        count = min(STRETCH_ROWS, rows - start)
        loss_pre = chance.gamma(4, 0.5, count)
        scores = np.clip(chance.normal(6, 2, (count, 6)), 0, 10)
        ids = [f"s{number:09}" for number in range(start, start + count)]
        near = [[{"sample_id": ids[n - 1], "cosine": 0.9}, {"sample_id": ids[n - 2], "cosine": 0.8}] for n in range(count)]
        keys = chance.bytes(32 * count).hex()
        yield pa.table(
            {
                "sample_id": ids,
                "revision": np.zeros(count, np.int64),
                "content_hash": [keys[64 * n : 64 * n + 64] for n in range(count)],
                "prompt_hash": [keys[64 * n : 64 * n + 64] for n in range(count)],
                "origin_kind": ["ingested"] * count,
                "loss_post": loss_pre * chance.uniform(0.3, 1.1, count),
                "loss_pre": loss_pre,
                **{name: scores[:, place] for place, name in enumerate(JUDGED)},
                "quality": scores.mean(axis=1),
                "density": chance.beta(8, 2, count),
                "neighbours": pa.array(near, SIGNAL_TABLE.field("neighbours").type),
                "prompt_tokens": chance.integers(1, 2_000, count),
                "response_tokens": chance.integers(1, 2_000, count),
                "truncated": np.zeros(count, bool),
                "not_made": [("gone" if not (start + n) % 1_000 else None) for n in range(count)],
                "merge_key": [keys[64 * (n - n % 2) : 64 * (n - n % 2) + 64] for n in range(count)],
            },
            schema=SIGNAL_TABLE,
        )


def write_table(rows: int, folder: Path) -> None:
    for shard in write_shards(stretches(rows), folder, ShardLimits()):
        shard.path.rename(folder / f"{shard.shard.min_id}.parquet")


def files_in(folder: Path) -> list[SignalFile]:
    return [SignalFile(path, path.name) for path in sorted(folder.glob("s*.parquet"))]


def plain_s(files: list[SignalFile]) -> float:
    """Seconds to read four columns of the table and take their means and deviations in memory."""
    began = time.perf_counter()
    table = pq.read_table([file.source for file in files], columns=["loss_post", "loss_pre", "density", "quality"])
    for column in table.columns:
        values = column.to_numpy()
        values.mean(), values.std()
    return time.perf_counter() - began


def peak_mib() -> float:
    """The most this process has held; its resource usage would begin with what its parent held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(case: str, folder: Path) -> None:
    """One line: what one case took."""
    files = files_in(folder)
    before = peak_mib()
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        found: Selection = select(files, CASES[case], Path(out), {})
        seconds = time.perf_counter() - began
        written = certain(found.selected).shard
    grown = peak_mib() - before
    rows, shares = found.summary.rows, " ".join(f"{axis.share:.3f}" for axis in found.summary.axes)
    plain = plain_s(files)
    print(
        f"{case:>13} {rows:>9,} {seconds:>7.2f} {rows / seconds / 1e6:>8.2f} {written.rows:>9,} {shares:>19} "
        f"{written.size_bytes / 2**20:>8.1f} {grown:>8.0f} {plain:>7.2f}",
        flush=True,
    )
    assert seconds < SECONDS_MAX * max(1.0, rows / 1e6), "selection takes longer than it may"


def main() -> None:
    """Each case in a process of its own, so that its peak of memory is its own."""
    if case := os.environ.get("BENCH_CASE"):
        measure(case, Path(sys.argv[1]))
        return
    print(
        f"{'mode':>13} {'rows':>9} {'s':>7} {'M rows/s':>8} {'selected':>9} {'shares by axis':>19} {'MiB':>8} {'+RSS MiB':>8} "
        f"{'plain s':>7}",
        flush=True,
    )
    for rows in sys.argv[1:] or ("1000000",):
        with tempfile.TemporaryDirectory() as folder:
            write_table(int(rows), Path(folder))
            for case in CASES:
                subprocess.run(
                    [sys.executable, "-m", "tests.bench.bench_selection", folder],
                    env=os.environ | {"BENCH_CASE": case},
                    check=True,
                )


if __name__ == "__main__":
    main()
