"""Kill trainer, controller, datasets, scoring and the object store through three cycles of training and rolling out."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from itertools import groupby, pairwise
from typing import Any

import pytest

from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import open_object_store
from headrace.adapters.versions.store import VersionStore
from headrace.client.seen_samples import seen_samples
from headrace.core.checkpoints import CheckpointPublished, CheckpointRolledOut, TrainingData
from headrace.core.dossiers import CURRENT, ScoredSample
from headrace.core.fine_tuning import is_held_out
from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, DECIDED, SCORED, Topic
from headrace.core.versions import RowKind, Version
from tests.e2e.chaos import Chaos
from tests.e2e.loop import CYCLES, Loop
from tests.e2e.spine import Spine
from tests.e2e.tiny_training import make_tiny_base, trainer_settings
from tests.e2e.workload import POLICY, workload
from tests.fakes.certain import certain
from tests.fakes.tiny_triton import TinyTriton

pytestmark = [pytest.mark.connected, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(1_800)]

SEEDS = (1, 2, 3)
SAMPLES = 240
KILLED = ("datasets", "scoring", "controller")
Row = tuple[str, int, str]


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spine]:
    """One spine for all seeds, with a real model server; its model is tiny, and what is trained begins from it."""
    folder = tmp_path_factory.mktemp("loop")
    make_tiny_base(folder / "base")
    settings = trainer_settings(folder) | {
        "HEADRACE_DATASETS_SETTLE_S_MAX": "120",  # a version of everything decided before, however long the service was away
        "HEADRACE_DATASETS_PACE_S": "0.1",
    }
    with Spine.up(folder, settings, triton=TinyTriton(folder / "base")) as spine:
        (folder / "triton" / "load_s").write_text("1")  # so that there is something to be killed in
        yield spine


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """Samples whose ends are known: none is there twice, so it does not matter which comes first."""
    work = workload(SAMPLES + SAMPLES // 4, seed=0)
    named = {line["id"]: line for line in work.lines if work.group_of[line["id"]] == line["id"]}
    return list(named.values())[: SAMPLES - SAMPLES % (CYCLES + 1)]


@pytest.fixture(scope="module")
def calm(spine: Spine, lines: list[dict[str, Any]]) -> list[set[Row]]:
    """The versions when nothing is disturbed."""
    _create(spine, "calm")
    size = len(lines) // (CYCLES + 1)
    for number in range(CYCLES):
        text = "".join(json.dumps(line) + "\n" for line in lines[number * size : (number + 1) * size])
        spine.headrace("submit", "--dataset", "calm", "-", stdin=text)
        asyncio.run(spine.settled("calm", (number + 1) * size))
        spine.headrace("dataset", "cut", "calm", "--wait")
    return [rows for _, rows in asyncio.run(_versions(spine, "calm"))]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_the_loop_closes(spine: Spine, lines: list[dict[str, Any]], calm: list[set[Row]], seed: int):
    """The same versions, whole checkpoints, each published and rolled out once, and a subscriber sees each sample once."""
    dataset = f"loop-{seed}"
    _create(spine, dataset)
    harms = [("kill", name) for name in (*KILLED, "object-store")] * 2 + [("absence", "object-store"), ("pause", "datasets")]
    chaos = Chaos(spine, random.Random(seed), harms, (), rest_s=(2, 6))
    loop = Loop(spine, dataset, lines, seed, chaos)
    loop.start()
    chaos.rage(loop)
    loop.join_or_raise()
    _tell(loop, chaos)
    accepted = same_versions(spine, loop, dataset, calm)
    checkpoints = published_once_and_rolled_out_once(spine, loop, dataset)
    measured_by_one_version_after_the_other(spine, dataset, checkpoints)
    asyncio.run(trained_on_their_versions(spine, dataset, checkpoints))
    for start, seen in loop.seen.subscribers.items():
        assert set(seen.values()) == {1}, f"from {start}"
        assert set(seen) == accepted, f"from {start}"
    account = loop.account
    assert (account.submitted, account.in_flight, account.dead_lettered) == (len(lines), 0, 0), account


def same_versions(spine: Spine, loop: Loop, dataset: str, calm: list[set[Row]]) -> set[tuple[str, int]]:
    """The versions are those of the calm, a chain without gaps, and sound; returns all that was accepted in the end."""
    versions = asyncio.run(_versions(spine, dataset))
    assert [rows for _, rows in versions] == calm
    assert [version.manifest.sequence for version, _ in versions] == [*range(1, CYCLES + 1)]
    assert [version.manifest.parent for version, _ in versions] == [None, *(version.id for version, _ in versions[:-1])]
    verified = json.loads(spine.headrace("dataset", "verify", dataset, "--history", "--json"))
    assert verified["damaged"] == []
    assert loop.seen.versions <= {version.id for version, _ in versions}
    decided = [event.body for event in asyncio.run(_events(spine, DECIDED))]
    return {
        (dossier.sample.id, dossier.sample.revision)
        for dossier in decided
        if dossier.sample.dataset_id == dataset and dossier.decisions[-1].verdict == "accepted"
    }


def published_once_and_rolled_out_once(
    spine: Spine, loop: Loop, dataset: str
) -> list[tuple[CheckpointPublished, CheckpointRolledOut]]:
    """One checkpoint for each run and cycle, of each one announcement; none that someone saw is a different one."""
    published: list[CheckpointPublished] = [event.body for event in asyncio.run(_events(spine, CHECKPOINT_PUBLISHED))]
    told: list[CheckpointRolledOut] = [event.body for event in asyncio.run(_events(spine, CHECKPOINT_ROLLED_OUT))]
    assert asyncio.run(_events(spine, CHECKPOINT_REFUSED)) == []
    ours = [each for each in published if each.data.dataset_id == dataset]
    assert len(ours) == len({each.run_id for each in ours}) == len({each.checkpoint_id for each in ours}) == CYCLES
    assert Counter(each.checkpoint_id for each in told if each.checkpoint_id) == {each.checkpoint_id: 1 for each in published}
    assert loop.seen.checkpoints == {each.checkpoint_id for each in published}
    by_id = {each.checkpoint_id: each for each in told}
    return [(each, by_id[each.checkpoint_id]) for each in ours]


def measured_by_one_version_after_the_other(
    spine: Spine, dataset: str, checkpoints: list[tuple[CheckpointPublished, CheckpointRolledOut]]
) -> None:
    """In the order of the topic the versions follow each other, and each sample's numbers are those of one version."""
    scored: list[ScoredSample] = [event.body for event in asyncio.run(_events(spine, SCORED))]
    ours = [body for body in scored if body.dossier.sample.dataset_id == dataset]
    signals = [certain(body.dossier.signals_of(CURRENT)) for body in ours]
    outs = [out for _, out in checkpoints]
    assert [version for version, _ in groupby(each.model_version for each in signals)] == [
        outs[0].previous_version,
        *(out.model_version for out in outs),
    ]
    losses = [outs[0].previous_golden_loss, *(out.golden_loss for out in outs)]
    loss_of = dict(zip([outs[0].previous_version, *(out.model_version for out in outs)], losses, strict=True))
    for body, measured in zip(ours, signals, strict=True):
        assert certain(body.embeddings).model_version == measured.model_version
        assert measured.loss_mean == pytest.approx(loss_of[measured.model_version], abs=1e-6)
    # Not all of them need differ: the seed before trained on the same samples, and came to the same weights.
    assert all(one != following for one, following in pairwise(losses)), "the versions cannot be told apart"


async def trained_on_their_versions(
    spine: Spine, dataset: str, checkpoints: list[tuple[CheckpointPublished, CheckpointRolledOut]]
) -> None:
    """What a checkpoint has seen are accepted rows of the version that it names, none of them held out."""
    versions = await _versions(spine, dataset)
    for (published, _), (version, rows) in zip(checkpoints, versions, strict=True):
        assert published.data.version == version.id
        seen = [each async for each in seen_samples(published, kafka=spine.environment["HEADRACE_KAFKA"],
                                                    store=spine.store_settings())]  # fmt: skip
        may_see = await _not_held_out(spine, version, published.data)
        assert 0 < len(may_see) < len(rows)
        assert seen
        assert set(seen) <= may_see


def _create(spine: Spine, dataset: str) -> None:
    policy = spine.folder / "policy.yaml"
    policy.write_text(POLICY)
    spine.headrace("dataset", "create", dataset, "--file", str(policy))


async def _versions(spine: Spine, dataset: str) -> list[tuple[Version, set[Row]]]:
    """All versions, oldest first, with their rows: id, revision, reason."""
    async with open_object_store(spine.store_settings()) as objects:
        versions = VersionStore(objects)
        log = [version async for version in versions.log(dataset)]
        return [(version, await _rows(versions, version)) for version in reversed(log)]


async def _not_held_out(spine: Spine, version: Version, data: TrainingData) -> set[tuple[str, int]]:
    """The accepted rows of a version that may be trained on."""
    may_see = set()
    async with open_object_store(spine.store_settings()) as objects:
        columns = ["sample_id", "revision", "prompt_hash"]
        async for batch in VersionStore(objects).rows(version.manifest, RowKind.ACCEPTED, columns):
            for row in batch.to_pylist():
                if not is_held_out(row["prompt_hash"], data.held_out_share, data.held_out_seed):
                    may_see.add((row["sample_id"], row["revision"]))
    return may_see


async def _rows(versions: VersionStore, version: Version) -> set[Row]:
    rows: list[Row] = []
    for kind in (RowKind.ACCEPTED, RowKind.REJECTED):
        async for batch in versions.rows(version.manifest, kind, ["sample_id", "revision", "reason"]):
            rows += [(row["sample_id"], row["revision"], row["reason"]) for row in batch.to_pylist()]
    assert len(rows) == len(set(rows)) == version.manifest.counts.decided
    return set(rows)


async def _events(spine: Spine, topic: Topic) -> list[Any]:
    async with aclosing(read_topic(topic, spine.environment["HEADRACE_KAFKA"], until_now=True)) as events:
        return [event async for event in events]


def _tell(loop: Loop, chaos: Chaos) -> None:
    seen, account = loop.seen, loop.account
    sys.stderr.write(
        f"\n{account.submitted} submitted = {account.accepted} accepted + {account.rejected} rejected + {account.dead_lettered} "
        f"dead-lettered + {account.in_flight} in flight; harm: {dict(chaos.done)}; trainers killed: {dict(loop.kills)}; commands "
        f"run again: {loop.commands_again}; subscribers resumed {seen.resumed} times; {seen.looks} looks at {len(seen.versions)} "
        f"versions and {len(seen.checkpoints)} checkpoints, {seen.store_away} at a store that was away\n"
    )
