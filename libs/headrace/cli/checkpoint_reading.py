"""What the commands on checkpoints read: what became of each, and whose weights were collected or may be."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # clients cost most of a second that `headrace --help` need not pay
    from headrace.adapters.versions.store import VersionStore
    from headrace.core.roll_out import RollOuts


def kafka() -> str:
    """The broker's address."""
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    return RuntimeSettings().kafka


async def read_roll_outs() -> "dict[str, RollOuts]":
    """What became of every model's checkpoints, from the topics' beginnings: a few records for each checkpoint."""
    from headrace.adapters.kafka.streams import read_topic  # noqa: PLC0415
    from headrace.core.roll_out import folded  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT  # noqa: PLC0415

    topics = (CHECKPOINT_PUBLISHED, CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)
    return folded([event.body for topic in topics async for event in read_topic(topic, kafka(), until_now=True)])


async def read_collected() -> frozenset[str]:
    """The ids of checkpoints whose weights were collected; none where the object store cannot be asked."""
    from headrace.adapters.checkpoints.retention import collected_checkpoints  # noqa: PLC0415
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.core.events import Stop  # noqa: PLC0415

    try:
        async with open_object_store(ObjectStoreSettings()) as objects:
            return await collected_checkpoints(objects)
    except Stop:
        return frozenset()


async def read_unneeded(versions: "VersionStore", keep_last: int, rounds_for_s: float) -> frozenset[str]:
    """The ids of checkpoints whose weights nobody needs.

    Raises:
        DamagedVersion: a version cannot be read that may name some of them.
        Stop: the object store or Kafka is gone.
    """
    from headrace.adapters.checkpoints.retention import named_by_datasets  # noqa: PLC0415
    from headrace.cli.round_reading import read_states  # noqa: PLC0415
    from headrace.core.checkpoint_retention import unneeded  # noqa: PLC0415

    named = await named_by_datasets(versions)
    rounds = (await read_states()).known()
    ended_since = time.time() - rounds_for_s
    return unneeded(await read_roll_outs(), rounds, named, keep_last=keep_last, ended_since=ended_since)
