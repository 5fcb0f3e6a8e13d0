"""`headrace dataset`: datasets and their versions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson, VersionName
from headrace.cli.policy import read_policy_or_exit

if TYPE_CHECKING:  # Arrow and the Kafka client cost most of a second that `headrace --help` need not pay
    from collections.abc import Mapping

    from headrace.adapters.policies import PolicyTopics
    from headrace.adapters.version_store import VersionStore
    from headrace.core.dossiers import DatasetCommitted
    from headrace.core.staged import Staged
    from headrace.core.versions import RowKind, Version

app = typer.Typer(name="dataset", help="Create datasets, cut versions of them, and read them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id: lower-case letters, digits and hyphens.")]
Kind = Annotated[str, typer.Option(help="accepted, rejected or embeddings.")]


@app.command()
def create(
    name: Name,
    *,
    policy: Annotated[Path | None, typer.Option("--file", "-f", help="A policy file, YAML; - reads standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a dataset: its standing policy and its topic for trainers. Without a policy file everything sound is admitted.

    `headrace policy init` prints a policy to start from; `headrace policy apply` changes it later.
    """
    from headrace.adapters.policies import publish_policy, standing_policies  # noqa: PLC0415
    from headrace.core.policies import Policy  # noqa: PLC0415
    from headrace.core.topics import accepted_topic  # noqa: PLC0415

    bounds = read_policy_or_exit(policy, as_json=as_json) if policy else Policy()
    topics = _topics()
    topic = accepted_topic(name).name
    if name in asyncio.run(standing_policies(topics)):
        raise CannotDo(f"dataset {name} exists: `headrace policy apply --dataset {name} -f FILE` changes its policy")
    published = asyncio.run(publish_policy(name, bounds, topics, now=time.time()))
    if as_json:
        typer.echo(json.dumps({"dataset": name, "policy_version": published.version, "accepted_topic": topic}))
    else:
        typer.echo(f"dataset {name} stands under policy {published.version}; accepted samples are published on {topic}")


@app.command("ls")
def list_datasets(*, as_json: AsJson = False) -> None:
    """List the datasets with their latest versions and how many decisions wait for the next one."""
    rows = asyncio.run(_listed())
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("dataset", "version", "id", "accepted", "rejected", "waiting", "committed"):
        table.add_column(column, justify="right" if column in {"version", "accepted", "rejected", "waiting"} else "left")
    for row in rows:
        table.add_row(*(str(row[name] if row[name] is not None else "-") for name in row))
    Console().print(table)


@app.command()
def show(name: Name, version: VersionName = "", *, as_json: AsJson = False) -> None:
    """Show one version: what became of every decision, under which policies and models, in which shards."""

    async def read() -> "tuple[Version, Staged]":
        async with _versions() as versions:
            found = await versions.version(name, version)
            return found, await _waiting(versions, name)

    found, staged = asyncio.run(read())
    waiting = _rows_waiting(staged)
    if as_json:
        typer.echo(json.dumps({"version": found.id, "waiting": waiting, **found.manifest.model_dump(mode="json")}))
        return
    manifest, counts = found.manifest, found.manifest.counts
    missing = f", {counts.embeddings_missing} not there yet" if counts.embeddings_missing else ""
    lines = {
        "dataset": f"{name}, version {manifest.sequence}, id {found.id}",
        "parent": manifest.parent or "none: the first",
        "decided": f"{counts.decided}: {counts.accepted} accepted, {counts.rejected} rejected, {counts.superseded} superseded",
        "embeddings": f"{counts.embeddings}{missing}",
        "reasons": _tally(manifest.reasons),
        "policies": _tally(manifest.policies),
        "models": _tally(manifest.models),
        "read up to": ", ".join(f"{stream} {offset}" for stream, offset in sorted(manifest.inputs.items())) or "-",
        "waiting": f"{waiting} decisions for the next version",
    }
    for kind, shards in manifest.shards.items():
        size = sum(shard.size_bytes for shard in shards)
        lines[f"{kind.value} rows"] = f"{sum(shard.rows for shard in shards)} in {len(shards)} shards, {size:,} bytes"
    for title, line in lines.items():
        typer.echo(f"{title:<16} {line}")


@app.command()
def cut(
    name: Name,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the version is there, and print it.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Longest wait, in seconds.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Ask for a version of everything decided so far. The datasets service cuts it; --wait waits for that.

    Where nothing was decided since the latest version, that one is the answer.
    """
    before, committed = asyncio.run(_cut(name, timeout_s if wait else None))
    if committed is None:
        typer.echo(json.dumps({"dataset": name, "requested": True}) if as_json else f"a version of {name} is asked for")
        return
    new = committed.version != before
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        typer.echo(json.dumps({**asdict(committed), "new": new}))
    elif new:
        typer.echo(
            f"version {committed.sequence}, id {committed.version}: "
            f"{committed.rows_accepted} accepted, {committed.rows_rejected} rejected"
        )
    else:
        typer.echo(f"nothing was decided since version {committed.sequence}, id {committed.version}")


@app.command()
def path(name: Name, version: VersionName = "", kind: Kind = "accepted", *, as_json: AsJson = False) -> None:
    """Print where a version's shards lie, as s3:// addresses that DuckDB, Spark, Ray Data and others read."""
    from headrace.adapters.object_store import ObjectStoreSettings  # noqa: PLC0415

    bucket = ObjectStoreSettings().bucket

    async def read() -> "Version":
        async with _versions() as versions:
            return await versions.version(name, version)

    row_kind = _kind(kind)
    found = asyncio.run(read())
    addresses = [f"s3://{bucket}/{shard.key}" for shard in found.manifest.shards_of(row_kind)]
    if as_json:
        typer.echo(json.dumps({"dataset": name, "version": found.id, "kind": kind, "shards": addresses}))
    else:
        for address in addresses:
            typer.echo(address)


@app.command()
def download(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Where to; created if missing.")],
    version: VersionName = "",
    kind: Annotated[
        list[str] | None, typer.Option(help="accepted, rejected or embeddings; may be repeated. Accepted alone if left out.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Copy a version's shards into a folder, each verified by its hash, for `datasets.load_dataset("parquet", ...)`."""
    kinds = [_kind(each) for each in kind or ["accepted"]]
    folder.mkdir(parents=True, exist_ok=True)
    found, files = asyncio.run(_downloaded(name, version, folder, kinds))
    if as_json:
        typer.echo(json.dumps({"dataset": name, "version": found.id, "files": [str(file) for file in files]}))
        return
    typer.echo(f"version {found.manifest.sequence}, id {found.id}: {len(files)} files in {folder}")
    typer.echo(f"""datasets.load_dataset("parquet", data_files="{folder}/{kinds[0].value}-*.parquet", split="train")""")


@asynccontextmanager
async def _versions() -> "AsyncIterator[VersionStore]":
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.version_store import VersionStore  # noqa: PLC0415

    async with open_object_store(ObjectStoreSettings()) as objects:
        yield VersionStore(objects)


async def _waiting(versions: "VersionStore", name: str) -> "Staged":
    from headrace.adapters.staging import StagingArea  # noqa: PLC0415

    latest = await versions.latest(name)
    return await StagingArea(versions.objects).since(name, latest.manifest.inputs if latest else {})


def _rows_waiting(staged: "Staged") -> int:
    from headrace.core.staged import rows_at_most  # noqa: PLC0415

    return rows_at_most(staged.slices(decided=True))


def _topics() -> "PolicyTopics":
    from headrace.adapters.policies import PolicyTopics  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    return PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)


def _tally(tally: "Mapping[str, int]") -> str:
    return ", ".join(f"{key} {tally[key]}" for key in sorted(tally, key=lambda key: (-tally[key], key))) or "-"


async def _listed() -> list[dict[str, Any]]:
    from headrace.adapters.policies import standing_policies  # noqa: PLC0415

    async with _versions() as versions:
        names = sorted({*await standing_policies(_topics()), *await versions.datasets()})
        return [await _row(versions, name) for name in names]


async def _row(versions: "VersionStore", name: str) -> dict[str, Any]:
    from datetime import UTC, datetime  # noqa: PLC0415

    head = await versions.head(name)
    manifest = await versions.manifest_at(head.manifest_key, head.version) if head else None
    return {
        "dataset": name,
        "version": manifest.sequence if manifest else None,
        "id": head.version[:12] if head else None,
        "accepted": manifest.counts.accepted if manifest else None,
        "rejected": manifest.counts.rejected if manifest else None,
        "waiting": _rows_waiting(await _waiting(versions, name)),
        "committed": datetime.fromtimestamp(head.committed_at, UTC).isoformat(timespec="seconds") if head else None,
    }


async def _cut(name: str, timeout_s: float | None) -> "tuple[str | None, DatasetCommitted | None]":
    """The latest version before the request, and the answer where it is waited for."""
    from headrace.adapters.envelope import derived_id  # noqa: PLC0415
    from headrace.adapters.kafka import EventPublisher, RecordReader, decoded  # noqa: PLC0415
    from headrace.adapters.policies import standing_policies  # noqa: PLC0415
    from headrace.core.dossiers import DatasetCutRequested  # noqa: PLC0415
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.topics import COMMITTED, CUT_REQUESTED  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    kafka, request_id = RuntimeSettings().kafka, str(uuid4())
    if name not in await standing_policies(_topics()):
        raise CannotDo(f"there is no dataset {name}: `headrace dataset create {name}` makes it")
    async with _versions() as versions:
        head = await versions.head(name)
    request = Send(CUT_REQUESTED, DatasetCutRequested(name, request_id, "headrace dataset cut"))
    async with (
        EventPublisher(kafka, "headrace/cli") as publisher,
        RecordReader.opened(kafka, [COMMITTED.name], start="end") as reader,
    ):
        await publisher.publish(request, event_id=request_id)
        if timeout_s is None:
            return None, None
        answer_id = derived_id(request_id, COMMITTED.name, 0)
        try:
            async with asyncio.timeout(timeout_s):
                async for record in reader:
                    event = decoded(COMMITTED, record)
                    if event is not None and event.id == answer_id:
                        return head.version if head else None, event.body
        except TimeoutError:
            pass
    raise CannotDo(f"no version of {name} within {timeout_s:g} s: `headrace status` and `headrace dlq ls` say why")


async def _downloaded(name: str, version: str, folder: Path, kinds: "list[RowKind]") -> "tuple[Version, list[Path]]":
    files = []
    async with _versions() as versions:
        found = await versions.version(name, version)
        for kind in kinds:
            shards = found.manifest.shards_of(kind)
            for index, shard in enumerate(shards):
                file = folder / f"{kind.value}-{index:05}-of-{len(shards):05}.parquet"
                part = file.with_suffix(".part")
                await versions.download(shard, part)
                part.rename(file)
                files.append(file)
    return found, files


def _kind(name: str) -> "RowKind":
    from headrace.core.versions import RowKind  # noqa: PLC0415

    try:
        return RowKind(name)
    except ValueError:
        raise typer.BadParameter(f"{name} is none of accepted, rejected, embeddings", param_hint="--kind") from None
