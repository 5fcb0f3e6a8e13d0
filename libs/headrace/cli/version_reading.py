"""What the commands on dataset versions share: the store that holds them, and how its parts are named on the command line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.failures import CannotDo

if TYPE_CHECKING:  # Arrow costs most of a second that `headrace --help` need not pay
    from headrace.adapters.versions.store import VersionStore
    from headrace.core.staged import Staged
    from headrace.core.versions import RowKind

DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id: lower-case letters, digits and hyphens.")]
Kind = Annotated[str, typer.Option(help="accepted, rejected or embeddings.")]

TABLE_ROWS_MAX = 1_000
"""Most rows of a table for people; --json has no such bound."""


@asynccontextmanager
async def open_versions() -> "AsyncIterator[VersionStore]":
    """The versions in the object store that the settings name. Raises Stop where it is gone."""
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.versions.store import VersionStore  # noqa: PLC0415

    async with open_object_store(ObjectStoreSettings()) as objects:
        yield VersionStore(objects)


async def require_dataset(name: str) -> None:
    """For whoever found nothing of a dataset. Raises CannotDo where there is none; passes where Kafka cannot be asked."""
    from headrace.adapters.kafka.unreachable import BrokerUnreachable  # noqa: PLC0415
    from headrace.adapters.policies.published import PolicyTopics, standing_policies  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    topics = PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)
    try:
        known = {*await standing_policies(topics)}
    except BrokerUnreachable:
        return
    async with open_versions() as versions:
        known |= {*await versions.datasets()}
    if name not in known:
        raise CannotDo(f"no such dataset: {name}; `headrace dataset ls` lists what there is, `headrace dataset create` makes one")


async def waiting(versions: "VersionStore", name: str) -> "Staged":
    """What is staged behind the latest version."""
    from headrace.adapters.versions.staging import StagingArea  # noqa: PLC0415

    latest = await versions.latest(name)
    return await StagingArea(versions.objects).since(name, latest.manifest.inputs if latest else {})


def rows_waiting(staged: "Staged") -> int:
    """How many decisions wait for the next version, at most."""
    from headrace.core.staged import rows_at_most  # noqa: PLC0415

    return rows_at_most(staged.slices(decided=True))


def kind_of(name: str) -> "RowKind":
    """The kind of that name. Raises BadParameter where there is none."""
    from headrace.core.versions import RowKind  # noqa: PLC0415

    try:
        return RowKind(name)
    except ValueError:
        raise typer.BadParameter(f"{name} is none of accepted, rejected, embeddings", param_hint="--kind") from None
