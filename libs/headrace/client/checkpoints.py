"""Reporting a checkpoint from one's own trainer: the weights to the object store, then word of it to everyone.

    data = data_of(subscription.position, held_out_share=0.1, rows_trained=9_000)
    publish_sync("out/final", model="signals", base="smollm2-135m-instruct", data=data, metrics={"train_loss": 1.2})

`publish` is the same for programs with an event loop. Needs the broker (HEADRACE_KAFKA or `kafka`) and the object store
(HEADRACE_S3_* or `store`).
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from headrace.adapters.checkpoints.store import CheckpointDetails, CheckpointStore, UnsafeCheckpoint
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.client.limits import found_settings
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, PositionRange, TrainingData
from headrace.core.events import Send
from headrace.core.positions import Position, position_from
from headrace.core.topics import CHECKPOINT_PUBLISHED
from headrace.lm.weights import weights_sha256

__all__ = ["CheckpointPublished", "TrainingData", "UnsafeCheckpoint", "announce", "data_of", "publish", "publish_sync"]

_ADAPTER = "adapter_config.json"


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

    Raises:
        BrokerUnreachable: the broker cannot be reached, or has no topics of Headrace.
    """
    async with aclosing(read_topic(CHECKPOINT_PUBLISHED, kafka, until_now=True)) as events:
        async for event in events:
            if event.body.checkpoint_id == published.checkpoint_id:
                return False
    async with EventPublisher(kafka, "headrace/trainer") as publisher:
        await publisher.publish(Send(CHECKPOINT_PUBLISHED, published), event_id=published.checkpoint_id)
    return True


def data_of(
    position: Position | str,
    *,
    held_out_share: float = 0.0,
    held_out_seed: str = "",
    rows_trained: int = 0,
    rows_held_out: int = 0,
) -> TrainingData:
    """What a subscriber that stands at `position` has taken: its version, and the records up to there.

    Ranges begin with the topic: where it repeats what the version holds, that changes nothing.

    Raises:
        ValueError: the position lies within a version's rows, or is only a part's of several (`share`).
        BadPosition: the token is garbled.
    """
    at = position_from(position) if isinstance(position, str) else position
    if at.share != (0, 1):
        raise ValueError(f"the position is that of part {at.share[0]} of {at.share[1]}, a checkpoint has seen all parts")
    if not at.offsets:
        raise ValueError("the position lies within the version's rows: read on to their end")
    return TrainingData(
        dataset_id=at.dataset_id,
        version=at.version,
        positions=tuple(PositionRange(number, 0, offset) for number, offset in sorted(at.offsets.items())),
        held_out_share=held_out_share,
        held_out_seed=held_out_seed,
        rows_trained=rows_trained,
        rows_held_out=rows_held_out,
    )


def _kind_of(folder: Path) -> CheckpointKind:
    return CheckpointKind.ADAPTER if (folder / _ADAPTER).is_file() else CheckpointKind.FULL
