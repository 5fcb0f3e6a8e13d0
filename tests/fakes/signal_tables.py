"""Signal tables to try selection on: drawn ones with everything that can go wrong with a number, and files of them."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from headrace.adapters.rounds.signal_table import SIGNAL_TABLE, SignalFile
from headrace.core.dossiers import JUDGED
from headrace.core.rounds.rules import Mode
from headrace.core.rounds.signal_rows import SignalRows, merge_key_of, paper_quality

GRID = st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0, 3.0, 10.0])
ODD = st.sampled_from([np.nan, np.inf, -np.inf, 2e100])
HEAVY = st.builds(lambda sign, power: sign * 10.0**power, st.sampled_from([-1, 1]), st.floats(-8, 90))
NUMBERS = st.sampled_from(["ties", "wild", "heavy", "holes", "constant"])


@st.composite
def columns(draw, rows: int) -> np.ndarray:
    """One column: ties, any numbers, heavy tails, holes, or a constant."""
    kind = draw(NUMBERS)
    cell = {"ties": GRID, "wild": st.floats(-1e6, 1e6), "heavy": HEAVY, "holes": GRID | ODD, "constant": GRID}[kind]
    cells = draw(st.lists(cell, min_size=rows, max_size=rows))
    return np.array(cells[:1] * rows if kind == "constant" else cells, dtype=float)


@st.composite
def tables(draw, rows_max: int = 14) -> dict[str, Any]:
    """A table as the oracle takes it: none, one or several rows."""
    rows = draw(st.integers(0, rows_max))
    score = st.sampled_from([0.0, 2.5, 5.0, 8.5, 10.0, np.nan]) | st.floats(0, 10)
    scores = draw(st.lists(st.lists(score, min_size=6, max_size=6), min_size=rows, max_size=rows))
    rarely = st.integers(0, 9).map(lambda number: number == 0)
    flags = st.lists(rarely, min_size=rows, max_size=rows)
    pair = st.tuples(st.sampled_from("abc"), st.sampled_from("xy"))
    return {
        **{name: draw(columns(rows)) for name in ("loss_post", "loss_pre", "density", "quality")},
        "scores": np.array(scores, dtype=float).reshape(rows, 6),
        "not_made": np.array(draw(flags), dtype=bool),
        "retracted": np.array(draw(flags), dtype=bool),
        "pairs": draw(st.lists(pair, min_size=rows, max_size=rows)),
    }


def a_table(rows: int, seed: int = 1) -> dict[str, Any]:
    """Many rows as they might be measured, a few without numbers."""
    chance = np.random.default_rng(seed)
    loss_pre = chance.gamma(4, 0.5, rows)
    scores = np.round(np.clip(chance.normal(6, 2, (rows, 6)), 0, 10), 1)
    density = chance.beta(8, 2, rows)
    not_made = chance.random(rows) < 0.01
    for column in (loss_pre, scores, density):
        column[not_made] = np.nan
    return {
        "loss_post": loss_pre * chance.uniform(0.3, 1.1, rows),
        "loss_pre": loss_pre,
        "density": density,
        "scores": scores,
        "quality": scores.mean(axis=1),
        "not_made": not_made,
        "retracted": np.zeros(rows, dtype=bool),
        "pairs": [(f"i{number // 3}", "o") for number in range(rows)],
    }


def signal_rows_of(table: dict[str, Any], mode: Mode) -> SignalRows:
    """The table as the code under test takes it."""
    names = ("loss_post", "loss_pre", "density", "not_made", "retracted")
    quality = paper_quality(table["scores"]) if mode is Mode.MIDDO_COMPAT else table["quality"]
    return SignalRows(**{name: table[name] for name in names}, quality=quality)


def sample_id(row: int) -> str:
    return f"s{row:07}"


def arrow_of(table: dict[str, Any]) -> pa.Table:
    """The table as the round keeps it."""
    rows = len(table["not_made"])
    given = {name: pa.array(table[name], from_pandas=True) for name in ("loss_post", "loss_pre", "density", "quality")}
    given |= {name: pa.array(table["scores"][:, place], from_pandas=True) for place, name in enumerate(JUDGED)}
    given |= {
        "sample_id": [sample_id(row) for row in range(rows)],
        "revision": [row % 3 for row in range(rows)],
        "not_made": ["out of memory" if flag else None for flag in table["not_made"]],
        "merge_key": [merge_key_of(*pair) for pair in table["pairs"]],
        **{name: [f"{name}-{row}" for row in range(rows)] for name in ("content_hash", "prompt_hash", "origin_kind")},
    }
    absent = {field.name: pa.nulls(rows, field.type) for field in SIGNAL_TABLE if field.name not in given}
    return pa.table(given | absent, schema=SIGNAL_TABLE)


def retracted_of(table: dict[str, Any]) -> dict[str, int]:
    """Retractions as the object store knows them; every other one reaches to an earlier revision only, of a row that stays."""
    reach = {sample_id(row): row % 3 for row in np.flatnonzero(table["retracted"]).tolist()}
    spared = {sample_id(row): row % 3 - 1 for row in np.flatnonzero(~table["retracted"]).tolist() if row % 3}
    return reach | dict(list(spared.items())[::2])


def in_memory(table: pa.Table, cuts: list[int], group_rows: int) -> list[SignalFile]:
    """The rows in files that end at the cuts, each an open file object."""
    edges = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    files: list[SignalFile] = []
    for start, end in pairwise(edges):
        body = io.BytesIO()
        pq.write_table(table.slice(start, end - start), body, row_group_size=group_rows)
        files.append(SignalFile(body, f"file {len(files)}"))
    return files


def on_disk(table: pa.Table, folder: Path, group_rows: int = 2_048) -> list[SignalFile]:
    """The rows in one file."""
    path = folder / "table.parquet"
    pq.write_table(table, path, row_group_size=group_rows, compression="zstd")
    return [SignalFile(path, path.name)]
