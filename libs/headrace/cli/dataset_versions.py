"""`headrace dataset`: one dataset's versions, and copies of them."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import AsJson, VersionName
from headrace.cli.version_reading import DatasetName, Kind, kind_of, open_versions, require_dataset, rows_waiting, waiting
from headrace.core.version_costs import NANOS, US, StageCost
from headrace.core.version_names import NoSuchVersion

if TYPE_CHECKING:  # Arrow costs most of a second that `headrace --help` need not pay
    from collections.abc import Mapping

    from headrace.core.staged import Staged
    from headrace.core.versions import RowKind, Version

app = typer.Typer()


@app.command()
def show(name: DatasetName, version: VersionName = "", *, as_json: AsJson = False) -> None:
    """Show one version: what became of every decision, under which policies and models, in which shards."""

    async def read() -> "tuple[Version, Staged]":
        async with open_versions() as versions:
            try:
                found = await versions.version(name, version)
            except NoSuchVersion:
                await require_dataset(name)
                raise
            return found, await waiting(versions, name)

    found, staged = asyncio.run(read())
    behind = rows_waiting(staged)
    if as_json:
        told = {"version": found.id, "waiting": behind, "forgotten": found.manifest.forgotten}
        typer.echo(json.dumps({**told, **found.manifest.model_dump(mode="json")}))
        return
    manifest, counts = found.manifest, found.manifest.counts
    missing = f", {counts.embeddings_missing} not there yet" if counts.embeddings_missing else ""
    lines = {
        "dataset": f"{name}, version {manifest.sequence}, id {found.id}",
        "parent": manifest.parent or "none: the first",
        "decided": f"{counts.decided}: {counts.accepted} accepted, {counts.rejected} rejected, {counts.superseded} superseded, "
        f"{counts.retracted} retracted",
        "embeddings": f"{counts.embeddings}{missing}",
        "reasons": _tally(manifest.reasons),
        "policies": _tally(manifest.policies),
        "models": _tally(manifest.models),
        "recipes": _tally(manifest.recipes),
        **{f"cost of {stage}": _cost(cost) for stage, cost in sorted(manifest.costs.items())},
        "read up to": ", ".join(f"{stream} {offset}" for stream, offset in sorted(manifest.inputs.items())) or "-",
        "waiting": f"{behind} decisions for the next version",
    }
    for kind, shards in manifest.shards.items():
        size = sum(shard.size_bytes for shard in shards)
        lines[f"{kind.value} rows"] = f"{sum(shard.rows for shard in shards)} in {len(shards)} shards, {size:,} bytes"
    if manifest.forgotten:
        lines["forgotten since"] = _tally({kind.value: rows for kind, rows in manifest.forgotten.items()})
    for title, line in lines.items():
        typer.echo(f"{title:<16} {line}")


@app.command()
def path(name: DatasetName, version: VersionName = "", kind: Kind = "accepted", *, as_json: AsJson = False) -> None:
    """Print where a version's shards lie, as s3:// addresses that DuckDB, Spark, Ray Data and others read."""
    from headrace.adapters.object_store import ObjectStoreSettings  # noqa: PLC0415

    bucket = ObjectStoreSettings().bucket

    async def read() -> "Version":
        async with open_versions() as versions:
            return await versions.version(name, version)

    row_kind = kind_of(kind)
    found = asyncio.run(read())
    addresses = [f"s3://{bucket}/{shard.key}" for shard in found.manifest.shards_of(row_kind)]
    if as_json:
        typer.echo(json.dumps({"dataset": name, "version": found.id, "kind": kind, "shards": addresses}))
    else:
        for address in addresses:
            typer.echo(address)


@app.command()
def checkout(
    name: DatasetName,
    folder: Annotated[Path, typer.Argument(help="Where to; created if missing.")],
    version: VersionName = "",
    kind: Annotated[
        list[str] | None, typer.Option(help="accepted, rejected or embeddings; may be repeated. Accepted alone if left out.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Copy a version's shards into a folder, each verified by its hash, for `datasets.load_dataset("parquet", ...)`."""
    kinds = [kind_of(each) for each in kind or ["accepted"]]
    found, files = asyncio.run(_checked_out(name, version, folder, kinds))
    if as_json:
        typer.echo(json.dumps({"dataset": name, "version": found.id, "files": [str(file) for file in files]}))
        return
    typer.echo(f"version {found.manifest.sequence}, id {found.id}: {len(files)} files in {folder}")
    typer.echo(f"""datasets.load_dataset("parquet", data_files="{folder}/{kinds[0].value}-*.parquet", split="train")""")


def _tally(tally: "Mapping[str, int]") -> str:
    return ", ".join(f"{key} {tally[key]}" for key in sorted(tally, key=lambda key: (-tally[key], key))) or "-"


def _cost(cost: "StageCost") -> str:
    """What is known, and of how many it is not."""
    parts = [f"{cost.seconds_us / US:,.1f} s", f"{cost.prompt_tokens + cost.completion_tokens:,} tokens"]
    parts += [f"{nanos / NANOS:,.2f} {currency}".rstrip() for currency, nanos in sorted(cost.money_nanos.items())]
    unknown = {"time": cost.seconds_known, "tokens": cost.tokens_known}
    parts += [f"{what} unknown for {cost.entries - known}" for what, known in unknown.items() if known < cost.entries]
    return ", ".join(parts)


async def _checked_out(name: str, version: str, folder: Path, kinds: "list[RowKind]") -> "tuple[Version, list[Path]]":
    from headrace.adapters.versions.checkout import checkout as copied  # noqa: PLC0415

    async with open_versions() as versions:
        found = await versions.version(name, version)
        return found, await copied(versions, found.manifest, folder, kinds)
