"""The demo's last act: a trainer takes the version, and what it makes of it is what measures from then on."""

import asyncio
import importlib
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table

from headrace.adapters.kafka.streams import read_topic
from headrace.cli.train import shown
from headrace.core.checkpoints import CheckpointPublished, CheckpointRefused, CheckpointRolledOut
from headrace.core.events import Stop
from headrace.core.topics import CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, Topic
from headrace.local.checkout import checkout
from headrace.local.state import home_folder

_ROLL_OUT_S = 300.0
_TRAINING = {"steps": 10, "tokens_max": 384}
"""Enough for the held-out loss to move, in about a minute on two idle cores; competition problems are long."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A checkpoint, and whether it measures now."""

    published: CheckpointPublished
    ended: CheckpointRolledOut | CheckpointRefused


async def learn(kafka: str, dataset: str, version: str) -> Learned:
    """Trains an adapter on the version and waits until the controller has rolled it out, or refused to.

    Raises:
        CannotTrain: nothing can be trained on, or the model's side failed.
        Stop: the controller says nothing.
    """
    checkout()  # the trainer is no part of the wheel
    training = importlib.import_module("services.trainer.training")
    with shown(as_json=False) as show:
        published = await training.train_version(dataset, version, training.TrainerSettings(**_TRAINING), show)
    return Learned(published, await _ended(kafka, published.checkpoint_id))


def render(learned: Learned) -> RenderableType:
    """The held-out loss before and after, and where the checkpoint is now."""
    published, ended = learned.published, learned.ended
    metrics = published.metrics
    table = Table("", "before", "after")
    held_out = f"loss on {metrics.get('rows_measured', 0):.0f} held-out samples"
    table.add_row(held_out, _nats(metrics.get("held_out_loss_before")), _nats(metrics.get("held_out_loss_after")))
    if isinstance(ended, CheckpointRolledOut):
        table.add_row("loss on the golden samples", _nats(ended.previous_golden_loss), _nats(ended.golden_loss))
        table.add_row("version that measures", ended.previous_version, ended.model_version)
    table.caption = (
        f"nats per response token; trained on {published.data.rows_trained} samples in {metrics.get('seconds', 0):.0f} s; "
        + (f"refused at {ended.step}: {ended.reason}" if isinstance(ended, CheckpointRefused) else f"live {ended.seconds:.0f} s "
           "after it was published")
    )  # fmt: skip
    return table


def _nats(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.3f}"


async def _ended(kafka: str, checkpoint_id: str) -> CheckpointRolledOut | CheckpointRefused:
    waiting = {asyncio.create_task(_first(topic, kafka, checkpoint_id)) for topic in (CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)}
    try:
        done, _ = await asyncio.wait(waiting, timeout=_ROLL_OUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            logs = home_folder() / "logs"
            raise Stop(f"the controller said nothing for {_ROLL_OUT_S:.0f} s: see `headrace status`, and the logs in {logs}")
        return done.pop().result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _first(topic: Topic, kafka: str, checkpoint_id: str) -> CheckpointRolledOut | CheckpointRefused:
    async for event in read_topic(topic, kafka):
        body = event.body
        if isinstance(body, CheckpointRolledOut | CheckpointRefused) and body.checkpoint_id == checkpoint_id:
            return body
    raise Stop(f"{topic.name} ended")
