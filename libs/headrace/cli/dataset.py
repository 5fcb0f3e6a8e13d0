"""`headrace dataset`: datasets and their versions."""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from headrace.cli import dataset_export, dataset_gc, dataset_history, dataset_retract, dataset_rows, dataset_versions
from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson
from headrace.cli.policy import read_policy_or_exit
from headrace.cli.version_reading import DatasetName, open_versions, rows_waiting, waiting

if TYPE_CHECKING:  # Arrow and the Kafka client cost most of a second that `headrace --help` need not pay
    from headrace.adapters.policies.published import PolicyTopics
    from headrace.adapters.versions.store import VersionStore
    from headrace.core.dossiers import DatasetCommitted

app = typer.Typer(name="dataset", help="Create datasets, cut versions of them, and read them.", no_args_is_help=True)
# In the order of their use; each module is a subject.
for area in (dataset_versions, dataset_history, dataset_rows, dataset_export, dataset_retract, dataset_gc):
    app.add_typer(area.app)


@app.command()
def create(
    name: DatasetName,
    *,
    policy: Annotated[Path | None, typer.Option("--file", "-f", help="A policy file, YAML; - reads standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a dataset: its standing policy and its topic for trainers. Without a policy file everything sound is admitted.

    `headrace policy init` prints a policy to start from; `headrace policy apply` changes it later.
    """
    from headrace.adapters.policies.published import publish_policy, standing_policies  # noqa: PLC0415
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
def cut(
    name: DatasetName,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the version is there, and print it.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Longest wait, in seconds.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Ask for a version of everything decided so far. The datasets service cuts it; --wait waits for that.

    Where nothing was decided since the latest version, that one is the answer. While a round is changing the dataset, the version
    has what it changed so far, whatever its guards will say of that: versions by policy wait then, and this warns.
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


def _topics() -> "PolicyTopics":
    from headrace.adapters.policies.published import PolicyTopics  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    return PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)


async def _listed() -> list[dict[str, Any]]:
    from headrace.adapters.policies.published import standing_policies  # noqa: PLC0415

    async with open_versions() as versions:
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
        "waiting": rows_waiting(await waiting(versions, name)),
        "committed": datetime.fromtimestamp(head.committed_at, UTC).isoformat(timespec="seconds") if head else None,
    }


async def _changed_by(kafka: str, name: str) -> str:
    """The round that is changing a dataset just now; empty where none is."""
    from headrace.adapters.rounds.round_states import RoundStates  # noqa: PLC0415
    from headrace.core.rounds.planning import is_changing  # noqa: PLC0415

    async with RoundStates.opened(kafka) as states:
        await states.refresh()
        return next((state.round_id for state in states.of_dataset(name) if is_changing(state)), "")


async def _cut(name: str, timeout_s: float | None) -> "tuple[str | None, DatasetCommitted | None]":
    """The latest version before the request, and the answer where it is waited for."""
    from headrace.adapters.kafka.streams import EventPublisher, RecordReader, decoded  # noqa: PLC0415
    from headrace.adapters.policies.published import standing_policies  # noqa: PLC0415
    from headrace.adapters.wire.envelope import derived_id  # noqa: PLC0415
    from headrace.core.dossiers import DatasetCutRequested  # noqa: PLC0415
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.topics import COMMITTED, CUT_REQUESTED  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    kafka, request_id = RuntimeSettings().kafka, str(uuid4())
    if name not in await standing_policies(_topics()):
        raise CannotDo(f"there is no dataset {name}: `headrace dataset create {name}` makes it")
    if round_id := await _changed_by(kafka, name):
        said = f"round {round_id} is changing {name}: what it has changed so far will be in the version"
        typer.echo(f"{said}, and stays there (`headrace round status {name}`)", err=True)
    async with open_versions() as versions:
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
