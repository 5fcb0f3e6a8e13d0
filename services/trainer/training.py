"""Puts a trainer together: one run on a version, one on each that comes, or one each time the accepted stream brought enough."""

import asyncio
import fcntl
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from headrace.adapters.kafka.streams import BrokerUnreachable, KafkaError
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.policies.published import PolicyTopics, policy_in, standing_policies
from headrace.adapters.versions.store import VersionStore
from headrace.client import Gathered, data_of, subscribe
from headrace.client.checkpoints import announce
from headrace.core.checkpoints import CheckpointPublished, TrainingData
from headrace.core.events import Stop
from headrace.core.fine_tuning import Progress, Stage
from headrace.core.policies import TrainingRules
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import Version
from headrace.lm.weights import weights_sha256
from headrace.local.checkout import model_python
from headrace.local.signals import default_weights
from headrace.local.state import home_folder
from headrace.runtime.settings import RuntimeSettings
from services.trainer.gathering import gather_version, position_in, round_done, rounds
from services.trainer.model_side import CannotTrain, Show
from services.trainer.runs import Base, NothingToTrain, Trainer
from services.trainer.settings import TrainerSettings
from services.trainer.versions import Due, News, awaited, is_busy, is_trained, is_undone

__all__ = ["CannotTrain", "TrainerSettings", "follow", "follow_versions", "train_version"]

_AGAIN_S = 5.0
"""How long to wait for store and broker before they are asked again."""


async def train_version(dataset: str, version: str, settings: TrainerSettings, show: Show) -> CheckpointPublished:
    """Trains on the accepted rows of a version ("" for the latest) and publishes the checkpoint; done before, it is found again.

    Raises:
        ValueError: there is no such dataset.
        NoSuchVersion, DamagedVersion: there is no such version, or one of its objects is missing or altered.
        CannotTrain: nothing can be trained on, the model's side failed, or another trainer uses the folder.
        Stop, BrokerUnreachable: store or broker cannot be reached; called again, it goes on from there.
    """
    rules = await _rules_of(dataset)
    async with _opened(dataset, settings) as trainer:
        chosen = await VersionStore(trainer.objects).version(dataset, version)
        async with News.opened(RuntimeSettings().kafka, dataset, settings.model) as news:
            due = awaited(await news.rounds(), settings.model)
        return await _trained(trainer, chosen, due.rules if due and due.version == chosen.id else rules, show)


async def follow_versions(dataset: str, settings: TrainerSettings, show: Show) -> AsyncGenerator[CheckpointPublished, None]:
    """Trains on each version that comes, from the same base with the same hyper-parameters, until the caller stops.

    The one that a round waits for comes first, and as long as a round is at work nothing else does; else it is the latest,
    however many have come meanwhile. A version that has a checkpoint is not trained again, nor is one that undid a round: the
    model of the version before measures again then. One without rows, or that was pruned, is left aside. While store or broker
    are gone it waits, but not at the beginning.

    Raises:
        ValueError: there is no such dataset.
        CannotTrain: the model's side failed, or another trainer uses the folder.
        DamagedVersion: an object of a version is missing or altered.
        BrokerUnreachable, Stop: store or broker cannot be reached at the beginning.
    """
    await _rules_of(dataset)
    async with _opened(dataset, settings) as trainer, News.opened(RuntimeSettings().kafka, dataset, settings.model) as news:
        aside: set[str] = set()
        while True:
            published = await _next(trainer, news, aside, show)
            if published is not None:
                yield published


async def _next(trainer: Trainer, news: News, aside: set[str], show: Show) -> CheckpointPublished | None:
    """The checkpoint of what is due; None where nothing is, or nothing came of it, and it is time to look again."""
    try:
        due = await _due(trainer, news, aside, show)
        if due is None:
            await news.wait()
            return None
        try:
            chosen = await VersionStore(trainer.objects).version(news.dataset_id, due.version)
            return await _trained(trainer, chosen, due.rules, show)
        except (NothingToTrain, NoSuchVersion):  # without rows, or pruned meanwhile
            aside.add(due.version)
    except (Stop, BrokerUnreachable, KafkaError):
        show(Progress(stage=Stage.AWAY))
        await asyncio.sleep(_AGAIN_S)
    return None


async def _due(trainer: Trainer, news: News, aside: Collection[str], show: Show) -> Due | None:
    """What is to be trained now; None where there is nothing, and what is waited for is shown."""
    states = await news.rounds()
    due = awaited(states, news.model)
    busy = due is None and is_busy(states, news.model)
    if due is None and not busy:
        latest = await VersionStore(trainer.objects).latest(news.dataset_id)
        if latest is not None and not is_undone(states, latest.id):
            due = Due(latest.id, await _rules_of(news.dataset_id))
    if due is None or due.version in aside or is_trained(await news.published(), news.dataset_id, news.model, due):
        show(Progress(stage=Stage.WAITING_FOR_ROUND if busy else Stage.WAITING))
        return None
    return due


async def _trained(trainer: Trainer, chosen: Version, rules: TrainingRules, show: Show) -> CheckpointPublished:
    dataset = chosen.manifest.dataset
    data = TrainingData(dataset, chosen.id, held_out_share=rules.held_out_share, held_out_seed=rules.held_out_seed)
    path = _table(trainer, f"version-{chosen.id[:16]}", rules)
    with Gathered(path, rules.held_out_seed) as gathered:
        await gather_version(gathered, VersionStore(trainer.objects), chosen)
        published = await trainer.train(gathered, data, show)
    path.unlink()
    return published


async def follow(dataset: str, start: str, settings: TrainerSettings, show: Show) -> AsyncGenerator[CheckpointPublished, None]:
    """Trains each time on everything accepted so far, and publishes the checkpoints, until the caller stops.

    `start` is where a subscription begins ("beginning", "latest", a version's name); a trainer that was here before goes on
    from where it was.

    Raises: as `train_version`, and what a subscription raises.
    """
    rules = await _rules_of(dataset)
    async with _opened(dataset, settings) as trainer:
        with Gathered(_table(trainer, f"following-{_short(start)}", rules), rules.held_out_seed) as gathered:
            at = position_in(gathered) or start
            async with (
                subscribe(dataset, start=at, kafka=RuntimeSettings().kafka) as subscription,
                aclosing(rounds(gathered, subscription, every_rows=settings.every_rows, every_s=settings.every_s)) as positions,
            ):
                async for position in positions:
                    data = data_of(position, held_out_share=rules.held_out_share, held_out_seed=rules.held_out_seed)
                    published = await trainer.train(gathered, data, show)
                    round_done(gathered)
                    yield published


async def _rules_of(dataset: str) -> TrainingRules:
    runtime = RuntimeSettings()
    topics = PolicyTopics(runtime.kafka, runtime.partitions, runtime.replication_factor, runtime.kafka_start_s)
    standing = (await standing_policies(topics)).get(dataset)
    policy = policy_in(standing) if standing else None
    if policy is None:
        raise ValueError(f"there is no dataset {dataset}: `headrace dataset create {dataset}` makes it")
    return policy.training


@asynccontextmanager
async def _opened(dataset: str, settings: TrainerSettings) -> AsyncIterator[Trainer]:
    folder = (settings.folder or home_folder() / "trainer").absolute() / dataset
    base = await asyncio.to_thread(default_weights, _quiet) if settings.base is None else settings.base
    named = Base(base.absolute(), settings.base_name or base.name, await asyncio.to_thread(weights_sha256, base))
    with _alone(folder):
        async with open_object_store(ObjectStoreSettings()) as objects:
            yield Trainer(
                model=settings.model,
                base=named,
                hyperparameters=settings.hyperparameters(),
                folder=folder,
                python=settings.python or model_python(),
                objects=objects,
                announce=partial(announce, kafka=RuntimeSettings().kafka),
                device=settings.device,
                threads=settings.threads,
                save_every_steps=settings.save_every_steps,
                held_out_rows_max=settings.held_out_rows_max,
            )


def _quiet(_: str) -> None:
    """Whoever waits for weights to be converted sees that training has not begun."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotTrain(f"another trainer works in {folder}: wait for it, or set HEADRACE_TRAINER_FOLDER") from error
        yield


def _table(trainer: Trainer, name: str, rules: TrainingRules) -> Path:
    """Where rows are gathered; another seed draws anew, so it has another table."""
    return trainer.folder / f"{name}-{_short(rules.held_out_seed)}.sqlite"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
