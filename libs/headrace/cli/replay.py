"""`headrace replay`: decide a dataset version's samples again under another policy."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.options import AsJson, Dataset, PolicyFile, VersionName
from headrace.cli.policy import read_policy_or_exit

if TYPE_CHECKING:
    from headrace.adapters.versions.store import Version
    from headrace.core.policies import Policy
    from headrace.core.replay import Replay

app = typer.Typer()


@app.command()
def replay(dataset: Dataset, policy: PolicyFile, version: VersionName = "", *, as_json: AsJson = False) -> None:
    """Decide a dataset version's samples again under a policy file and show what would change. No model is called.

    Accepted and rejected samples are decided from the evidence that is stored with them: signals, neighbours and check
    results, as they were measured then. Samples that would first need a check that was never run, or was run with other
    settings, are counted by that check.
    """
    other = read_policy_or_exit(policy, as_json=as_json)
    found, tally = asyncio.run(_replayed(dataset, version, other))
    if as_json:
        typer.echo(json.dumps(_plain(found, other, tally)))
    else:
        _print(found, other, tally)


async def _replayed(dataset: str, name: str, policy: "Policy") -> "tuple[Version, Replay]":
    from headrace import checks  # noqa: PLC0415
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.versions.store import VersionStore  # noqa: PLC0415
    from headrace.adapters.wire import events as wire  # noqa: PLC0415
    from headrace.core.dossiers import Dossier  # noqa: PLC0415
    from headrace.core.replay import Replay  # noqa: PLC0415
    from headrace.core.versions import RowKind  # noqa: PLC0415

    tally = Replay(policy, checks.rulers(policy))
    async with open_object_store(ObjectStoreSettings()) as objects:
        store = VersionStore(objects)
        version = await store.version(dataset, name)
        for kind in (RowKind.ACCEPTED, RowKind.REJECTED):
            async for batch in store.rows(version.manifest, kind, ["dossier"]):
                for stored in batch.column("dossier").to_pylist():
                    tally.add(wire.decode(Dossier, stored))
    return version, tally


def _plain(version: "Version", policy: "Policy", tally: "Replay") -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return {
        "dataset": version.manifest.dataset,
        "version": version.id,
        "policy_version": policy.version,
        "decided": tally.decided,
        "unchanged": tally.unchanged,
        "changes": [
            {"from": asdict(before), "to": asdict(after), "count": moved.count, "examples": moved.examples}
            for (before, after), moved in _by_count(tally)
        ],
        "checks_needed": dict(tally.checks_needed),
    }


def _print(version: "Version", policy: "Policy", tally: "Replay") -> None:
    from headrace.core.replay import accepted_in  # noqa: PLC0415

    manifest = version.manifest
    typer.echo(f"dataset {manifest.dataset}, version {manifest.sequence} ({version.id[:12]}), under policy {policy.version}")
    accepted, would_be = accepted_in(tally.before), accepted_in(tally.after)
    typer.echo(f"{tally.decided} decided, {tally.unchanged} unchanged; accepted {accepted} -> {would_be}")
    if tally.moved:
        Console().print(_table(tally))
    for check, count in tally.checks_needed.most_common():
        typer.echo(f"{count} would need check {check}")


def _table(tally: "Replay") -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("was", "would be", "samples", "such as"):
        table.add_column(column, justify="right" if column == "samples" else "left")
    for (before, after), moved in _by_count(tally):
        table.add_row(str(before), str(after), str(moved.count), escape(", ".join(moved.examples)))
    return table


def _by_count(tally: "Replay") -> "list[Any]":
    return sorted(tally.moved.items(), key=lambda item: (-item[1].count, item[0]))
