"""A loop that nobody pushes on: a trainer follows versions, its checkpoints begin rounds, and it trains what these make."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import open_object_store
from headrace.adapters.rounds.round_states import RoundStates
from headrace.adapters.versions.store import VersionStore
from headrace.core.checkpoints import CheckpointPublished
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, Topic
from headrace.core.versions import RowKind
from tests.e2e import rounds
from tests.e2e.spine import Spine
from tests.fakes.certain import certain

SAMPLES = 60
_OFF = {"enabled": False}
POLICY = rounds.policy(
    start="checkpoint", train=True, hard=_OFF, sparse=_OFF, meaning_cosine_min=-1.0, held_out_rise_max=10.0
) | {"signals": {}}  # fmt: skip
"""The tiny model tells samples apart by its judgement alone; and rows that are replaced keep their ids, whatever the round's."""


class Follower:
    """`headrace train DATASET --versions`, which may be killed."""

    def __init__(self, spine: Spine, dataset: str) -> None:
        self._spine, self._dataset = spine, dataset
        self._log = spine.folder / "logs" / f"train-{dataset}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> None:
        command = (sys.executable, "-m", "headrace.cli.main", "train", self._dataset, "--versions")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._spine.environment_of_commands(), stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL, to the process and all it started."""
        process = certain(self._process)
        assert process.poll() is None, self._log.read_text()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.kills += 1

    def stop(self) -> None:
        """Ends it, if it has not ended."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def is_at_work(self) -> bool:
        """Whether a run has saved a state and is not published."""
        runs = Path(self._spine.environment["HEADRACE_TRAINER_FOLDER"]) / self._dataset
        return any(not (saved.parents[2] / "published").exists() for saved in runs.glob("*/state/checkpoint-*/whole"))


class Unrest:
    """Kills trainer and controller in training, in the midst of a run, and again while the checkpoint is evaluated.

    Scoring is away from the one to the other: evaluating lasts until they are killed.
    """

    def __init__(self, spine: Spine, follower: Follower, rng: random.Random) -> None:
        self._spine, self._follower, self._rng = spine, follower, rng
        self.killed: Counter[tuple[Phase, str]] = Counter()

    async def at(self, _: RoundStates, state: RoundState) -> None:
        """The round stands so now."""
        if state.phase is Phase.TRAINING and not self.killed[state.phase, "trainer"] and self._follower.is_at_work():
            self._kill(state.phase, "scoring")
            await self._kill_both(state.phase)
        elif state.phase is Phase.EVALUATING and not self.killed[state.phase, "trainer"]:
            await self._kill_both(state.phase)
            self._spine.restart("scoring")

    async def _kill_both(self, phase: Phase) -> None:
        await asyncio.sleep(self._rng.uniform(0, 0.5))
        for name in self._rng.sample(("trainer", "controller"), 2):
            self._kill(phase, name)
            await asyncio.sleep(self._rng.uniform(0, 0.3))
        self._spine.restart("controller")
        self._follower.start()

    def _kill(self, phase: Phase, name: str) -> None:
        self._follower.kill() if name == "trainer" else self._spine.kill(name)
        self.killed[phase, name] += 1


@dataclass(frozen=True, slots=True)
class End:
    """How the first round ended, its version's rows (ids, revisions, hashes of contents), and the dataset's checkpoints."""

    state: RoundState
    rows: frozenset[tuple[str, int, str]]
    checkpoints: list[CheckpointPublished]
    rolled_out: Counter[str]
    killed: Counter[tuple[Phase, str]]


def run(spine: Spine, dataset: str, seed: int | None = None) -> End:
    """From samples and one version to the end of the round that begins by itself; disturbed where there is a seed."""
    rounds.ask_as(spine, dataset)
    file = spine.folder / f"{dataset}.yaml"
    file.write_text(json.dumps(POLICY))
    spine.headrace("dataset", "create", dataset, "--file", str(file))
    follower = Follower(spine, dataset)
    follower.start()
    try:
        lines = "".join(json.dumps(line) + "\n" for line in rounds.samples(SAMPLES))
        spine.headrace("submit", "--dataset", dataset, "-", stdin=lines)
        asyncio.run(spine.settled(dataset, SAMPLES))
        spine.headrace("dataset", "cut", dataset, "--wait")
        began = time.monotonic()
        unrest = None if seed is None else Unrest(spine, follower, random.Random(seed))
        state = asyncio.run(rounds.ended(spine, dataset, unrest))
        follower.kill()
        if state.phase is Phase.KEPT:  # its checkpoint begins the next one
            spine.headrace("round", "abort", dataset)
        killed = Counter[tuple[Phase, str]]() if unrest is None else unrest.killed
        end = asyncio.run(_end(spine, dataset, state, killed))
    finally:
        follower.stop()
    told = {f"{phase} {name}": count for (phase, name), count in killed.items()}
    sys.stderr.write(f"\n{dataset}, {time.monotonic() - began:.0f} s: {state.phase}, {state.detail}; killed: {told}\n")
    return end


async def _end(spine: Spine, dataset: str, state: RoundState, killed: Counter[tuple[Phase, str]]) -> End:
    checkpoints = [each for each in await _told(spine, CHECKPOINT_PUBLISHED) if each.data.dataset_id == dataset]
    ids = {each.checkpoint_id for each in checkpoints}
    assert not [each for each in await _told(spine, CHECKPOINT_REFUSED) if each.checkpoint_id in ids]
    out = Counter(each.checkpoint_id for each in await _told(spine, CHECKPOINT_ROLLED_OUT) if each.checkpoint_id in ids)
    async with open_object_store(spine.store_settings()) as objects:
        versions = VersionStore(objects)
        version = await versions.version(dataset, certain(state.committed).version)
        rows = set()
        async for batch in versions.rows(version.manifest, RowKind.ACCEPTED, ["sample_id", "revision", "content_hash"]):
            rows |= {(row["sample_id"], row["revision"], row["content_hash"]) for row in batch.to_pylist()}
    return End(state, frozenset(rows), checkpoints, out, killed)


async def _told(spine: Spine, topic: Topic) -> list[Any]:
    async with aclosing(read_topic(topic, spine.environment["HEADRACE_KAFKA"], until_now=True)) as events:
        return [event.body async for event in events]
