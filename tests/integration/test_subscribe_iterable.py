"""Accepted samples as a `datasets.IterableDataset`: divided among ranks and workers by its own machinery, resumed exactly."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from datasets.distributed import split_dataset_by_node

from headrace.client import as_iterable_dataset
from headrace.core.dossiers import Retraction
from headrace.local.checkout import model_python
from tests.fakes.accepted_topics import accepted, new_dataset, publish

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"s-{n:03}" for n in range(60)]


@pytest.fixture
async def dataset(kafka) -> str:
    name = new_dataset(kafka)
    await publish(kafka, name, accepted(name, NAMES))
    await publish(kafka, name, [Retraction(name, "s-000", 0, "privacy")])
    return name


def ids(rows) -> list[str]:
    return sorted(row["sample_id"] for row in rows)


def test_rows_are_what_trainers_take(kafka, dataset):
    """Conversations in chat form and what else is known; no retractions."""
    rows = list(as_iterable_dataset(dataset, follow=False, kafka=kafka))
    assert ids(rows) == NAMES
    row = rows[0]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert row["messages"][1]["tool_calls"][0]["function"] == {"name": "multiply", "arguments": '{"a": 6}'}
    assert row["attributes"] == {"topic": "multiplication", "level": "1"}
    assert row["metadata"] == {"page": 3}


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 11])
def test_each_row_goes_to_one_rank(kafka, dataset, ranks, monkeypatch):
    """Also where the partitions do not divide evenly, or are fewer; the environment says how many ranks there are."""
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    whole = as_iterable_dataset(dataset, follow=False, kafka=kafka)
    assert whole.num_shards % ranks == 0
    parts = [list(split_dataset_by_node(whole, rank=rank, world_size=ranks)) for rank in range(ranks)]
    assert all(parts)
    assert ids(row for part in parts for row in part) == NAMES


@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (1, 3), (2, 2), (1, 9), (4, 3)])
def test_each_row_goes_to_one_worker_of_one_rank(kafka, dataset, ranks, workers):
    """As `DataLoader` workers divide it, which together may be more than there are partitions."""
    whole = as_iterable_dataset(dataset, follow=False, kafka=kafka, ranks=ranks)
    rows = []
    for rank in range(ranks):
        source = split_dataset_by_node(whole, rank=rank, world_size=ranks)._prepare_ex_iterable_for_iteration()
        for worker in range(workers):
            if source.split_shard_indices_by_worker(num_shards=workers, index=worker, contiguous=False):
                rows += [row for _, row in source.shard_data_sources(num_shards=workers, index=worker, contiguous=False)]
    assert ids(rows) == NAMES


def test_the_state_resumes_behind_the_latest_row(kafka, dataset):
    """Stopped again and again, every row comes once; `map` and `filter` in between keep the place."""
    fresh = as_iterable_dataset(dataset, follow=False, kafka=kafka).map(lambda row: {"length": len(row["messages"])})
    seen: list[dict[str, object]] = []
    state = fresh.state_dict()
    while len(seen) < len(NAMES):
        rows = as_iterable_dataset(dataset, follow=False, kafka=kafka).map(lambda row: {"length": len(row["messages"])})
        rows.load_state_dict(state)
        for count, row in enumerate(rows, 1):
            seen.append(row)
            if count == 13:
                break
        state = rows.state_dict()
    assert ids(seen) == NAMES
    assert all(row["length"] == 4 for row in seen)


@pytest.mark.model
def test_each_row_goes_to_one_real_worker(kafka, dataset):
    """PyTorch's own `DataLoader` with three workers, in the model side's environment."""
    command = [str(model_python()), "tests/model/load_accepted.py", dataset, kafka]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert ids(rows) == NAMES
    assert {row["worker"] for row in rows} == {0, 1, 2}


def test_a_position_is_no_start(kafka, dataset):
    """Each worker has one of its own, so one cannot be given for all."""
    rows = as_iterable_dataset(dataset, follow=False, kafka=kafka)
    next(iter(rows))
    token = rows.state_dict()["examples_iterable"]["position"]
    assert token.startswith("hr1.")
    with pytest.raises(ValueError, match="load_state_dict"):
        as_iterable_dataset(dataset, start=token, kafka=kafka)
    assert not os.environ.get("WORLD_SIZE")
