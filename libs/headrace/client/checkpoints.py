"""Reporting a checkpoint from one's own trainer: the weights to the object store, then word of it to everyone.

    data = data_of(subscription.position, held_out_share=0.1, rows_trained=9_000)
    publish_sync("out/final", model="signals", base="weights/smollm2-135m-instruct", data=data, metrics={"train_loss": 1.2})

`publish` is the same for programs with an event loop. Needs the broker (HEADRACE_KAFKA or `kafka`) and the object store
(HEADRACE_S3_* or `store`).
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.adapters.checkpoints.store import CheckpointDetails, CheckpointStore, UnsafeCheckpoint
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.client.limits import found_settings
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, TrainingData
from headrace.core.events import Send
from headrace.core.read_parts import Places, read_since
from headrace.core.topics import CHECKPOINT_PUBLISHED
from headrace.lm.weights import weights_sha256

__all__ = ["CheckpointPublished", "TrainingData", "UnsafeCheckpoint", "announce", "data_of", "publish", "publish_sync"]

_ADAPTER = "adapter_config.json"
_log = logging.getLogger("headrace.client")


async def publish(
    folder: Path | str,
    *,
    model: str,
    base: Path | str,
    data: TrainingData,
    base_name: str = "",
    hyperparameters: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    run_id: str = "",
    kafka: str | None = None,
    store: ObjectStoreSettings | None = None,
) -> CheckpointPublished:
    """Stores the safetensors and JSON files of `folder` and announces them; what it announced is returned.

    `model` is the model's name on the model server, `base` the folder of the weights that training began from, `base_name`
    what people call them (by default the folder's name). A folder with adapter_config.json holds a LoRA adapter of PEFT's,
    any other one all weights. The same folder with the same details is one checkpoint, and is announced once.

    Raises:
        UnsafeCheckpoint: the weights are missing or no safetensors, or above HEADRACE_CHECKPOINTS_BYTES_MAX.
        FileNotFoundError: `base` holds no weights.
        ValueError: a name is no plain name, or a metric is no finite number.
        Stop: the object store cannot be reached.
        BrokerUnreachable: the broker cannot be reached.
    """
    folder, base, kafka = Path(folder), Path(base), kafka or found_settings().kafka
    details = CheckpointDetails(
        model=model,
        kind=await asyncio.to_thread(_kind_of, folder),
        base_model=base_name or base.name,
        base_sha256=await asyncio.to_thread(weights_sha256, base),
        data=data,
        hyperparameters=hyperparameters or {},
        metrics={name: float(value) for name, value in (metrics or {}).items()},
        run_id=run_id,
    )
    async with open_object_store(store or ObjectStoreSettings()) as objects:
        published = await CheckpointStore(objects).publish(folder, details)
    await announce(published, kafka)
    return published


def publish_sync(folder: Path | str, **details: Any) -> CheckpointPublished:
    """`publish`, for programs without an event loop."""
    return asyncio.run(publish(folder, **details))


async def announce(published: CheckpointPublished, kafka: str) -> bool:
    """Tells everyone of a checkpoint, unless that was done before; says whether it was told now.

    Where it was, a warning says so: a checkpoint that was refused is not rolled out by publishing it again, but by
    `headrace checkpoint rollout`.

    Raises:
        BrokerUnreachable: the broker cannot be reached, or has no topics of Headrace.
    """
    async with aclosing(read_topic(CHECKPOINT_PUBLISHED, kafka, until_now=True)) as events:
        async for event in events:
            if event.body.checkpoint_id == published.checkpoint_id:
                short = published.checkpoint_id[:12]
                _log.warning("checkpoint %s was announced before; `headrace checkpoint rollout %s` asks again", short, short)
                return False
    async with EventPublisher(kafka, "headrace/trainer") as publisher:
        await publisher.publish(Send(CHECKPOINT_PUBLISHED, published), event_id=published.checkpoint_id)
    return True


def data_of(
    places: Places,
    *,
    since: Places | None = None,
    streamed: bool = False,
    held_out_share: float = 0.0,
    held_out_seed: str = "",
    rows_trained: int = 0,
    rows_held_out: int = 0,
) -> TrainingData:
    """What was read up to `places`, to the row: of a version, and the records behind it from where reading began.

    `places` is a subscription's position, or the `state_dict()` of what `as_iterable_dataset` gave, or of what was made of it
    (`trainer.train_dataset`); of several ranks and workers a list with the one of each. A reader that goes on from a
    token counts all since it first began. A run that began with such a token, and with none of what was trained before, says
    `since` which one. `streamed` tells that samples were trained on one after the other as they came, as an iterable data set is,
    so that one that was taken back later was seen; without it, all was read first and what stood at the end was trained on.

    Positions of releases before this one do not say where reading began: records count from the topic's beginning.

    Raises:
        ValueError: the places are not of one reading, or a part's is missing.
        BadPosition: a token is garbled.
    """
    return replace(
        read_since(places, since),
        streamed=streamed,
        held_out_share=held_out_share,
        held_out_seed=held_out_seed,
        rows_trained=rows_trained,
        rows_held_out=rows_held_out,
    )


def _kind_of(folder: Path) -> CheckpointKind:
    return CheckpointKind.ADAPTER if (folder / _ADAPTER).is_file() else CheckpointKind.FULL
