"""`headrace index`: the vector index that diversity keeps."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.failures import CannotDo
from headrace.local.state import home_folder

if TYPE_CHECKING:
    from headrace.adapters.vector_index import VectorIndexSettings
    from headrace.core.ports.vector_index import Census

app = typer.Typer(name="index", help="Look at the vector index, and build it again.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(*, as_json: AsJson = False) -> None:
    """Show what the index holds, by dataset and embedding model: accepted samples, and those still in flight.

    The index in process can be looked at only while diversity is stopped (`headrace down`); a server
    (HEADRACE_DIVERSITY_INDEX_URL) at any time. Unless HEADRACE_DIVERSITY_INDEX_PATH names another folder, it is the one of the
    stack that `headrace up` keeps here.
    """
    censuses = sorted(asyncio.run(_census()), key=lambda census: (census.space.dataset_id, census.space.model_version))
    now = time.time()
    rows = [_row(census, now) for census in censuses]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        waited = "" if row["oldest_pending_s"] is None else f", the oldest for {row['oldest_pending_s']:.0f} s"
        typer.echo(
            f"{row['dataset']:<24} {row['model']} {row['model_version']}, {row['dimensions']} dimensions: "
            f"{row['accepted']} accepted, {row['pending']} in flight{waited}"
        )
    if not rows:
        typer.echo("the index is empty")


@app.command()
def rebuild(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id.")],
    *,
    clear: Annotated[
        bool, typer.Option("--clear", help="Drop what is accepted first; else only what is missing is added.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the index again from the object store: what the latest version accepted and rejected, and what was staged since.

    Stop diversity first. With --clear let datasets catch up before (`headrace lag`): what it has not staged yet
    would be forgotten. Samples in flight and rejections that are known stay as they are.

    For the stack that `headrace up` keeps here: headrace down; headrace up --only object-store; headrace index rebuild DATASET;
    headrace down; headrace up.
    """
    loaded = asyncio.run(_rebuild(dataset, clear=clear))
    typer.echo(json.dumps({"dataset": dataset, "accepted": loaded}) if as_json else f"{loaded} accepted samples are in the index")


async def _census() -> "list[Census]":
    from headrace.adapters.vector_index import VectorIndexSettings, open_vector_index  # noqa: PLC0415

    settings = _of_the_stack_here(VectorIndexSettings())
    if not settings.url and not settings.path.exists():
        raise CannotDo(
            f"there is no index in {settings.path}: HEADRACE_DIVERSITY_INDEX_PATH names another folder, "
            "HEADRACE_DIVERSITY_INDEX_URL a server"
        )
    async with open_vector_index(settings) as index:
        return list(await index.census())


async def _rebuild(dataset: str, *, clear: bool) -> int:
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.vector_index import VectorIndexSettings, open_vector_index  # noqa: PLC0415
    from headrace.adapters.vector_index.rebuilding import rebuild as build  # noqa: PLC0415

    settings = _of_the_stack_here(VectorIndexSettings(build_wait_s_max=float("inf")))  # nobody else is kept waiting
    async with open_object_store(ObjectStoreSettings()) as objects, open_vector_index(settings) as index:
        return await build(index, objects, dataset, clear=clear)


def _of_the_stack_here(settings: "VectorIndexSettings") -> "VectorIndexSettings":
    """With the folder of the local stack, where no other is named; a stack that is down tells no settings."""
    from headrace.local.services import index_folder  # noqa: PLC0415

    if "path" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"path": index_folder(home_folder())})


def _row(census: "Census", now: float) -> dict[str, str | int | float | None]:
    oldest = census.oldest_entered_at
    return {
        "dataset": census.space.dataset_id,
        "model": census.space.model,
        "model_version": census.space.model_version,
        "dimensions": census.dimensions,
        "accepted": census.accepted,
        "pending": census.pending,
        "oldest_pending_s": None if oldest is None else max(0.0, now - oldest),
    }
