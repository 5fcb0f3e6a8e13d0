"""The loop that is disturbed: samples, a version, a trainer, its checkpoint in scoring, and those who look on all the while."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import MinioObjectStore, open_object_store
from headrace.adapters.versions.check import check
from headrace.adapters.versions.store import VersionStore
from headrace.client import Accepted, Item, Subscription, subscribe
from headrace.core.checkpoints import CheckpointRefused
from headrace.core.events import Stop
from headrace.core.ledger import Account
from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, Topic
from tests.e2e.chaos import Chaos
from tests.e2e.spine import Spine

MODEL = "signals"
CYCLES = 3
QUIET_S = 2.0
MOMENTS = ("prepared", "saved", "stored")
"""At or soon after which a trainer is killed: its rows are at hand, a state is saved, its checkpoint is in the object store."""


@dataclass
class Seen:
    """What those who looked on have seen."""

    subscribers: dict[str, Counter[tuple[str, int]]] = field(default_factory=dict)
    resumed: int = 0
    versions: set[str] = field(default_factory=set)
    checkpoints: set[str] = field(default_factory=set)
    looks: int = 0
    store_away: int = 0


class Loop(threading.Thread):
    """Trains on a dataset in cycles while `chaos` rages, in a thread of its own; `lines` are submitted in as many parts and one.

    `join_or_raise` tells what went wrong.
    """

    def __init__(self, spine: Spine, dataset: str, lines: list[dict[str, Any]], seed: int, chaos: Chaos) -> None:
        super().__init__(name="loop")
        self._spine, self._dataset, self._lines, self._chaos = spine, dataset, lines, chaos
        self._rng = random.Random(seed)
        self._kafka = spine.environment["HEADRACE_KAFKA"]
        self._store = spine.store_settings()
        self._over = asyncio.Event()
        self._failed: BaseException | None = None
        self.seen = Seen()
        self.kills: Counter[str] = Counter()
        self.commands_again = 0
        self.account = Account()

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for the thread
            self._failed = error

    def join_or_raise(self) -> Self:
        self.join()
        if self._failed is not None:
            raise self._failed
        return self

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_on())
            group.create_task(self._subscriber("beginning"))
            moments = self._rng.sample(MOMENTS, CYCLES)  # one a cycle
            parts = _parts(self._lines, CYCLES + 1)
            submitted = 0
            for number, part in enumerate(parts, 1):
                text = "".join(json.dumps(line) + "\n" for line in part)
                await asyncio.to_thread(self._spine.headrace, "submit", "--dataset", self._dataset, "-", stdin=text)
                submitted += len(part)
                self.account = await self._spine.settled(self._dataset, submitted)
                if number <= CYCLES:
                    await self._cycle(number, moments[number - 1])
                if number == 1:
                    group.create_task(self._subscriber("1"))
            self._over.set()

    async def _cycle(self, number: int, moment: str) -> None:
        """A version, a trainer that is killed, a checkpoint that measures in the end."""
        cut = await self._until_done("dataset", "cut", self._dataset, "--wait", "--json")
        assert cut["sequence"] == number, cut
        await self._killed_trainer(moment)
        published = (await self._until_done("train", self._dataset, "--json"))["checkpoint"]
        self._chaos.wishes.put(("kill", "controller"))
        await self._rolled_out(published)

    async def _killed_trainer(self, moment: str) -> None:
        """Started until it is killed, or done before; the store may be away when it begins."""
        ended = 1
        while ended > 0:
            ended = await self._train_up_to(moment)
        self.kills[f"{moment}{'' if ended == -signal.SIGKILL else ', too late'}"] += 1

    async def _train_up_to(self, moment: str) -> int:
        """How a trainer ended that was killed at such a moment."""
        runs = Path(self._spine.environment["HEADRACE_TRAINER_FOLDER"]) / self._dataset
        before, stored = set(runs.glob("*/run.json")), await self._stored()

        async def reached() -> bool:
            match moment:
                case "prepared":
                    return bool(set(runs.glob("*/run.json")) - before)
                case "saved":
                    return bool([*runs.glob("*/state/checkpoint-*/whole")])
                case _:
                    return (await self._stored()) > stored

        process = await self._start("train", self._dataset, "--json")
        while process.returncode is None and not await reached():  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.02)
        if moment != "stored":  # between that and the announcement there is little time
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), self._rng.uniform(0, 2))
        with contextlib.suppress(ProcessLookupError):
            process.kill() if self._rng.random() < 0.5 else os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
        return process.returncode or 0

    async def _stored(self) -> int:
        """How many checkpoints the store shows; 0 while it is away."""
        with contextlib.suppress(Stop):
            async with open_object_store(self._store) as objects:
                return len([entry async for entry in objects.list(f"checkpoints/{MODEL}/")])
        return 0

    async def _rolled_out(self, checkpoint_id: str) -> None:
        told = [asyncio.create_task(self._first(topic, checkpoint_id)) for topic in (CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)]
        try:
            async with asyncio.timeout(240):
                done, _ = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
            body = done.pop().result()
            assert not isinstance(body, CheckpointRefused), body
        finally:
            for task in told:
                task.cancel()
            await asyncio.gather(*told, return_exceptions=True)

    async def _first(self, topic: Topic, checkpoint_id: str) -> Any:
        async with aclosing(read_topic(topic, self._kafka)) as events:
            async for event in events:
                if event.body.checkpoint_id == checkpoint_id:
                    return event.body
        raise AssertionError("a topic that is followed does not end")

    async def _until_done(self, *arguments: str) -> Any:
        """The command's answer; run again for as long as it says that the object store is away."""
        while True:
            process = await self._start(*arguments)
            out, err = await process.communicate()
            if process.returncode == 0:
                return json.loads(out)
            assert b"error: object store: " in err, f"{arguments}: {(out + err).decode()}"
            self.commands_again += 1
            await asyncio.sleep(0.2)

    async def _start(self, *arguments: str) -> Process:
        command = (sys.executable, "-m", "headrace.cli.main", *arguments)
        environment = self._spine.environment_of_commands()
        return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True)

    async def _look_on(self) -> None:
        """Whatever is visible at any moment is whole: the latest version with all its shards, every checkpoint with its files."""
        while not self._over.is_set():
            try:
                async with open_object_store(self._store) as objects:
                    await self._look(objects)
                self.seen.looks += 1
            except Stop:
                self.seen.store_away += 1
            await asyncio.sleep(0.3)

    async def _look(self, objects: MinioObjectStore) -> None:
        versions = VersionStore(objects)
        latest = await versions.latest(self._dataset)
        if latest is not None and latest.id not in self.seen.versions:
            assert [each.damage async for each in check(versions, latest) if each.damage] == []
            self.seen.versions.add(latest.id)
        store = CheckpointStore(objects)
        for key in [entry.key async for entry in objects.list(f"checkpoints/{MODEL}/")]:
            checkpoint_id = Path(key).stem
            if checkpoint_id not in self.seen.checkpoints:
                with tempfile.TemporaryDirectory() as folder:
                    await store.fetch(await store.find(MODEL, checkpoint_id), Path(folder) / "fetched")
                self.seen.checkpoints.add(checkpoint_id)

    async def _subscriber(self, start: str) -> None:
        """Stores its position with what it has taken, now and then; dies at random moments, and goes on from what it stored."""
        kept, position = self.seen.subscribers.setdefault(start, Counter()), start
        while True:
            last = self._over.is_set()
            try:
                position = await self._taken(kept, position, None if last else self._rng.randrange(1, 40))
            except Stop:  # the object store is away: a version's rows come from there
                last = False
                await asyncio.sleep(0.2)
            if last:
                return
            self.seen.resumed += 1

    async def _taken(self, kept: Counter[tuple[str, int]], start: str, dies_after: int | None) -> str:
        """The position that was stored last; without `dies_after` that of the end."""
        position, unkept = start, Counter[tuple[str, int]]()
        follow = dies_after is not None
        async with subscribe(self._dataset, start=start, follow=follow, kafka=self._kafka, store=self._store) as items:
            async for item in _until_quiet(items, QUIET_S if follow else None):
                assert isinstance(item, Accepted), item
                unkept[item.sample_id, item.revision] += 1
                if unkept.total() == dies_after:
                    return position
                if self._rng.random() < 0.2:
                    kept.update(unkept)
                    position, unkept = items.position or start, Counter()
            kept.update(unkept)
            return items.position or start


async def _until_quiet(items: Subscription, quiet_s: float | None) -> AsyncIterator[Item]:
    """The items, up to the end or so long a silence."""
    with contextlib.suppress(TimeoutError):
        while (item := await asyncio.wait_for(anext(items, None), quiet_s)) is not None:
            yield item


def _parts(lines: list[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    size = len(lines) // count
    return [lines[number * size : (number + 1) * size] for number in range(count)]
