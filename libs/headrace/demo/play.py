"""The demo, step by step: submit, watch, cut a version, read it back, tell what came of it, train on it, mend it."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import resources

from rich.console import Console
from rich.live import Live

from headrace import checks
from headrace.adapters.kafka.accounts import Accounts
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.policies.file import parse_policy
from headrace.adapters.policies.published import PolicyTopics, publish_policy, standing_policies
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire import events as wire
from headrace.cli.live import LiveView
from headrace.client import Submitted, submit
from headrace.core.dossiers import CURRENT, DatasetCutRequested, Dossier, Verdict
from headrace.core.events import Send, Stop
from headrace.core.ledger import Account
from headrace.core.topics import COMMITTED, CUT_REQUESTED
from headrace.core.versions import RowKind
from headrace.demo import loop, mending
from headrace.demo.champ import DemoSample, demo_samples
from headrace.demo.passage import read_passages
from headrace.demo.report import Ended, Spent, render
from headrace.local.state import home_folder
from headrace.runtime.large_bodies import large_bodies
from headrace.runtime.settings import DeliverySettings, RuntimeSettings

_LOOK_S = 1.0
_STALLED_S = 300.0
"""Without any sample ending for this long, the demo gives up and says where to look."""


@dataclass(frozen=True, slots=True)
class Played:
    """What the demo leaves behind: the dataset, its version, and a sample that was turned away, if any was."""

    dataset: str
    version: str
    rejected_id: str


async def play(console: Console, *, count: int, seed: int, with_round: bool = True) -> Played:
    """Runs the demo against the stack that the settings name; a round takes half of its time.

    Raises:
        CannotDo: the round cannot begin.
        Stop: nothing ends any more, the checkpoint is not rolled out, or the round froze.
        CannotTrain: training failed.
        ValueError: the gateway refuses samples.
        TimeoutError: no version is announced.
    """
    settings = RuntimeSettings()
    topics = PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)
    dataset = await _new_dataset(topics)
    samples = demo_samples(count, seed)
    console.print(f"{len(samples)} answers to competition problems go into dataset [bold]{dataset}[/bold]; "
                  f"for {sum(s.withheld for s in samples)} of them the reference is withheld")  # fmt: skip
    account = await _stream(console, settings.kafka, dataset, samples)
    version, dossiers = await _read_back(settings.kafka, dataset)
    passages = await _passages(settings.kafka, dataset)
    console.print(render(samples, {d.sample.id: _ended(d) for d in dossiers}, account, _spent(dossiers), passages))
    console.rule("The loop closes")
    console.print("a trainer takes the version; its checkpoint is rolled out and measures from then on")
    learned = await loop.learn(settings.kafka, dataset, version)
    console.print(loop.render(learned))
    if with_round:
        console.rule("A round: the model says what it cannot learn from")
        triton = os.environ["HEADRACE_SCORING_TRITON"]
        mended = await mending.mend(console, settings.kafka, dataset, triton, learned.published)
        console.print(mending.render(mended))
    rejected = [d.sample.id for d in dossiers if d.decisions[-1].verdict is Verdict.REJECTED]
    return Played(dataset, version, rejected[0] if rejected else "")


async def _new_dataset(topics: PolicyTopics) -> str:
    """A dataset of its own for each run, since a sample is admitted to a dataset once."""
    policy = parse_policy(resources.files("headrace.demo").joinpath("policy.yaml").read_bytes(), checks.validate)
    taken = await standing_policies(topics)
    number = 1
    while (dataset := f"champ-{number}") in taken:
        number += 1
    await publish_policy(dataset, policy, topics, now=time.time())
    return dataset


async def _stream(console: Console, kafka: str, dataset: str, samples: Sequence[DemoSample]) -> Account:
    """Submits while the spine is watched, until every sample has ended."""
    submitting = asyncio.create_task(_submit(dataset, samples))
    try:
        async with aclosing(large_bodies(DeliverySettings())) as bodies, Accounts.opened(kafka, bodies) as accounts:
            with KafkaAdmin(kafka) as admin, Live(console=console, refresh_per_second=4) as live:
                view = LiveView(accounts, admin, dataset)
                ended, since = 0, time.monotonic()
                while not (submitting.done() and view.account.submitted and not view.account.in_flight):
                    account = await view.refresh()
                    live.update(view.render())
                    now_ended = account.submitted - account.in_flight
                    if now_ended > ended:
                        ended, since = now_ended, time.monotonic()
                    if time.monotonic() - since > _STALLED_S:
                        logs = home_folder() / "logs"
                        raise Stop(f"no sample has ended for {_STALLED_S:.0f} s: see `headrace status`, and the logs in {logs}")
                    await asyncio.sleep(_LOOK_S)
                return view.account
    finally:
        await submitting


async def _submit(dataset: str, samples: Sequence[DemoSample]) -> None:
    refused = [answer async for answer in submit(dataset, (s.line for s in samples)) if not isinstance(answer, Submitted)]
    if refused:
        raise ValueError(f"the gateway refused {len(refused)} samples, the first: {refused[0]}")


async def _cut(kafka: str, dataset: str) -> None:
    """Asks for a version and waits until it is announced."""
    request = DatasetCutRequested(dataset, f"demo-{time.time_ns()}", "headrace demo")
    async with EventPublisher(kafka, "headrace/demo") as publisher:
        await publisher.publish(Send(CUT_REQUESTED, request), event_id=request.request_id)
    async with asyncio.timeout(120):
        async for event in read_topic(COMMITTED, kafka):
            if event.body.dataset_id == dataset:
                return


async def _read_back(kafka: str, dataset: str) -> tuple[str, list[Dossier]]:
    """The version's id and the dossiers of all its samples, accepted and rejected."""
    await _cut(kafka, dataset)
    dossiers: list[Dossier] = []
    async with open_object_store(ObjectStoreSettings()) as objects:
        store = VersionStore(objects)
        version = await store.version(dataset)
        for kind in (RowKind.ACCEPTED, RowKind.REJECTED):
            async for batch in store.rows(version.manifest, kind, ["dossier"]):
                dossiers += [wire.decode(Dossier, stored) for stored in batch.column("dossier").to_pylist()]
    return version.id, dossiers


async def _passages(kafka: str, dataset: str) -> dict[str, list[float]]:
    async with aclosing(large_bodies(DeliverySettings())) as bodies:
        return await read_passages(kafka, dataset, bodies)


def _ended(dossier: Dossier) -> Ended:
    signals, decision = dossier.signals_of(CURRENT), dossier.decisions[-1]
    return Ended(
        accepted=decision.verdict is Verdict.ACCEPTED,
        reason=decision.reason,
        loss_mean=signals.loss_mean if signals else None,
        loss_std=signals.loss_std if signals else None,
        response_tokens=signals.response_tokens if signals else 0,
        density=dossier.placement.density if dossier.placement else None,
    )


def _spent(dossiers: Sequence[Dossier]) -> list[Spent]:
    seconds: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for cost in (cost for dossier in dossiers for cost in dossier.costs):
        seconds[cost.stage] = seconds.get(cost.stage, 0.0) + (cost.seconds or 0.0)
        tokens[cost.stage] = tokens.get(cost.stage, 0) + (cost.prompt_tokens or 0) + (cost.completion_tokens or 0)
    return [Spent(stage, seconds[stage], tokens[stage]) for stage in seconds]
