"""A round in mode middo_compat, and what the authors' formulas say of the same texts: from the signals to the next version."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.adapters.object_store import open_object_store
from headrace.adapters.triton.rows import conversation_json
from headrace.adapters.versions.store import VersionStore
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.stored import selection_key
from headrace.core.samples import Message, Sample
from headrace.core.versions import RowKind
from tests.e2e.mending import Mender
from tests.e2e.round_cases import begin, done, ends
from tests.e2e.rounds import policy, samples
from tests.e2e.spine import Spine
from tests.fakes.signal_model import pseudo_plain, pseudo_scores, pseudo_signals

RULES = policy(mode="middo_compat") | {"training": {"held_out_share": 0.0}}
EACH_AXIS = {"hard": 1.0, "sparse": 1.0, "low_quality": 1.0}
_BYTES_MAX = 1 << 20
_NEIGHBOURS = 2

Table = dict[str, Any]
"""Signals of rows as `tests.fakes.selection_oracle` takes them, in the order of their ids."""


def lines() -> list[dict[str, Any]]:
    """Conversations; one in five has a twin that differs in its system turn alone: one row, for the authors' merge."""
    rows = samples(190)[130:]  # others than any round of before, so that no reply is known
    twins = [_twin(row) for number, row in enumerate(rows) if number % 5 == 0 and "lonely" not in row["messages"][0]["content"]]
    return sorted((*rows, *twins), key=lambda row: row["id"])


def _twin(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": f"{row['id']}-twin", "messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]}


def signals_of(rows: list[dict[str, Any]]) -> Table:
    """What the stub of a model says of these texts under both models, and densities by an exact product."""
    texts = [_text(row) for row in rows]
    said = [pseudo_signals(text) for text in texts]
    prompts = np.array([pseudo_plain(each) for each in said], dtype=np.float64)
    cosines = prompts @ prompts.T
    np.fill_diagonal(cosines, -np.inf)
    scores = np.array([pseudo_scores(text) for text in texts])
    losses = np.array([each.loss_mean for each in said])
    nobody = np.zeros(len(rows), dtype=bool)
    return {
        "loss_post": losses, "loss_pre": losses, "density": np.sort(cosines, axis=1)[:, -_NEIGHBOURS:].mean(axis=1),
        "scores": scores, "quality": scores.mean(axis=1), "not_made": nobody, "retracted": nobody,
        "pairs": [(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in rows],
    }  # fmt: skip


def _text(row: Mapping[str, Any]) -> bytes:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])
    return conversation_json(Sample("compat", row["id"], 0, "", messages))


def played(spine: Spine, mender: Mender, rows: list[dict[str, Any]]) -> RoundState:
    """How a round of these rows ended; whatever is asked for in it is mended."""
    file = spine.folder / "compat.yaml"
    file.write_text(json.dumps(RULES))
    done(spine, "dataset", "create", "compat", "--file", str(file))
    done(spine, "submit", "--dataset", "compat", "-", stdin="".join(json.dumps(row) + "\n" for row in rows))
    asyncio.run(spine.settled("compat", len(rows)))
    done(spine, "dataset", "cut", "compat", "--wait")
    mender.willing.set()
    try:
        begin(spine, "compat")
        return ends(spine, "compat")["compat"]
    finally:
        mender.willing.clear()


def selected_by(spine: Spine, state: RoundState) -> list[tuple[str, str]]:
    """Ids and axes in the stored selection, in its order."""

    async def read() -> list[tuple[str, str]]:
        async with open_object_store(spine.store_settings()) as objects:
            stored = await objects.get(selection_key(state.begun.survey), bytes_max=_BYTES_MAX)
        return [(row["sample_id"], row["axis"]) for row in pq.read_table(pa.BufferReader(stored.body)).to_pylist()]

    return asyncio.run(read())


def made_of(spine: Spine, dataset: str, version: str) -> list[tuple[str, str]]:
    """Of each row of the version what it was made of, and on which axis; untouched ones are named by their ids, with no axis."""

    async def read() -> list[tuple[str, str]]:
        found = []
        columns = ("sample_id", "origin_axis", "origin_parent_ids")
        async with open_object_store(spine.store_settings()) as objects:
            versions = VersionStore(objects)
            manifest = (await versions.version(dataset, version)).manifest
            async for batch in versions.rows(manifest, RowKind.ACCEPTED, columns):
                for row in batch.to_pylist():
                    axis = row["origin_axis"] or ""
                    found.append((row["origin_parent_ids"][0] if axis else row["sample_id"], axis))
        return sorted(found)

    return asyncio.run(read())
