"""`headrace dataset log`, `diff`, `tag` and `verify`: one version against others, and against what it should be."""

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson, VersionName
from headrace.cli.version_reading import TABLE_ROWS_MAX, DatasetName, open_versions

if TYPE_CHECKING:  # Arrow costs most of a second that `headrace --help` need not pay
    from collections.abc import AsyncGenerator

    from headrace.core.version_diff import Change
    from headrace.core.versions import Version

app = typer.Typer()

Named = "a number, an id or the beginning of it, a tag, main, or main~1"
From = Annotated[str, typer.Argument(metavar="A", help=f"The earlier version: {Named}.")]
To = Annotated[str, typer.Argument(metavar="B", help="The later version, in the same ways.")]


@app.command()
def log(
    name: DatasetName,
    version: VersionName = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many versions.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List versions, the latest first, and by how much each changed the counts of the one before it.

    A table has 1,000 at most; --json has no such bound, and prints each as it is read.
    """
    asyncio.run(_print_log_as_json(name, version, limit) if as_json else _print_log(name, version, min(limit, TABLE_ROWS_MAX)))


@app.command()
def diff(
    name: DatasetName,
    before: From,
    after: To = "main",
    limit: Annotated[
        int, typer.Option(min=0, help="At most so many samples are listed; all of them count. --json lists all.")
    ] = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Tell which samples were added, removed and revised from version A to version B, and why.

    Only shards that the two do not share are read. --json prints an object a line: one for each sample, then the totals.
    """
    totals = asyncio.run(_diff(name, (before, after), None if as_json else limit))
    if as_json:
        typer.echo(json.dumps(totals))
        return
    counts = totals["counts"]
    typer.echo(f"{counts['added']} added, {counts['removed']} removed, {counts['revised']} revised")
    changed = ", ".join(f"{reason} {count:+}" for reason, count in totals["reasons"].items())
    typer.echo(f"decided between {totals['before'][:12]} and {totals['after'][:12]}: {changed or 'nothing'}")


@app.command()
def tag(
    name: DatasetName,
    tag_name: Annotated[str, typer.Argument(metavar="[TAG]", help="The tag; without one all tags are listed.")] = "",
    version: VersionName = "",
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Take the tag away; the version stays.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a version a name that never moves; it is accepted wherever a version is, and keeps the version from being pruned."""
    if delete and not tag_name:
        raise CannotDo("which tag? `headrace dataset tag DATASET` lists them")
    told = asyncio.run(_tagged(name, tag_name, version, delete=delete))
    if as_json:
        typer.echo(json.dumps(told))
    elif delete:
        typer.echo(f"tag {tag_name} is gone")
    else:
        for each in told:
            typer.echo(f"{each['tag']:<24} version {each['sequence']}, id {each['version']}")


@app.command()
def verify(
    name: DatasetName,
    version: VersionName = "",
    *,
    history: Annotated[bool, typer.Option("--history", help="Check every version before it too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every shard of a version and compare its hash with the manifest, and the manifest's with the version's id.

    Names each damaged object and goes on; ends with 1 where there is any. Rows that were forgotten on purpose are counted: the
    gap that they left is no damage.
    """
    checked, damaged, forgotten = asyncio.run(_verified(name, version, history=history))
    if as_json:
        typer.echo(json.dumps({"dataset": name, "objects": checked, "damaged": damaged, "forgotten_rows": forgotten}))
    else:
        for line in damaged:
            typer.echo(f"damaged: {line}")
        for kind, rows in forgotten.items():
            typer.echo(f"stated gap: {rows} {kind} rows of this version were forgotten")
        typer.echo(f"{checked} objects read, {len(damaged)} damaged")
    if damaged:
        raise typer.Exit(1)


async def _print_log_as_json(name: str, version: str, limit: int) -> None:
    """One JSON array, printed as it grows: a history may be long."""
    before = "["
    async with aclosing(_log(name, version, limit)) as rows:
        async for row in rows:
            typer.echo(before + json.dumps(row), nl=False)
            before = ", "
    typer.echo("]" if before != "[" else "[]")


async def _print_log(name: str, version: str, limit: int) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("version", "id", "committed", "accepted", "rejected", "tags", "what changed"):
        right = column in {"version", "accepted", "rejected"}
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "what changed")
    async with aclosing(_log(name, version, limit)) as rows:
        async for row in rows:
            counts = (f"{row['counts'][count]} ({row['change'].get(count, 0):+})" for count in ("accepted", "rejected"))
            changed = ", ".join(f"{reason} {count:+}" for reason, count in row["reasons"].items())
            tags = Text(", ".join(row["tags"]))
            table.add_row(str(row["sequence"]), row["version"][:12], row["committed"][:16], *counts, tags, Text(changed or "-"))
    Console().print(table)


async def _log(name: str, version: str, limit: int) -> "AsyncGenerator[dict[str, Any]]":
    from headrace.adapters.versions.tags import tags  # noqa: PLC0415
    from headrace.core.version_diff import difference  # noqa: PLC0415

    async with open_versions() as versions:
        current: Version | None = await versions.version(name, version)
        tagged: dict[str, list[str]] = {}
        async for each in tags(versions.objects, name):
            tagged.setdefault(each.version, []).append(each.tag)
        for _ in range(limit):
            if current is None:
                return
            parent = await versions.parent(current)
            stat = await versions.objects.stat(current.manifest_key)
            counts = current.manifest.counts.model_dump()
            yield {
                "sequence": current.manifest.sequence,
                "version": current.id,
                "parent": current.manifest.parent,
                "committed": datetime.fromtimestamp(stat.modified, UTC).isoformat(timespec="seconds") if stat else "-",
                "tags": tagged.get(current.id, []),
                "counts": counts,
                "change": difference(parent.manifest.counts.model_dump() if parent else {}, counts),
                "reasons": difference(parent.manifest.reasons if parent else {}, current.manifest.reasons),
                "policies": difference(parent.manifest.policies if parent else {}, current.manifest.policies),
            }
            current = parent


async def _diff(name: str, ends: tuple[str, str], shown: int | None) -> dict[str, Any]:
    """The totals; what changed is printed as it is found, so many for people, all of it as JSON lines where `shown` is None."""
    from headrace.adapters.versions.diff import diff as differing  # noqa: PLC0415
    from headrace.core.version_diff import ChangeKind, difference  # noqa: PLC0415

    async with open_versions() as versions:
        before, after = [await versions.version(name, end) for end in ends]
        counts = {kind.value: 0 for kind in ChangeKind}
        async for change in differing(versions.objects, before.manifest, after.manifest):
            counts[change.kind.value] += 1
            if shown is None:
                typer.echo(json.dumps(_plain(change)))
            elif sum(counts.values()) <= shown:
                typer.echo(_line(change))
    if shown is not None and (left := sum(counts.values()) - shown) > 0:
        typer.echo(f"and {left} more (--limit)")
    return {
        "before": before.id,
        "after": after.id,
        "counts": counts,
        "reasons": difference(before.manifest.reasons, after.manifest.reasons),
        "policies": difference(before.manifest.policies, after.manifest.policies),
        "models": difference(before.manifest.models, after.manifest.models),
    }


def _line(change: "Change") -> str:
    from headrace.checks import readable  # noqa: PLC0415
    from headrace.core.version_diff import reason_of  # noqa: PLC0415

    revisions = f" {change.before.revision} -> {change.after.revision}" if change.before and change.after else ""
    return f"{change.kind.value:<8} {readable(change.sample_id, 80)}{revisions}: {readable(reason_of(change), 300)}"


def _plain(change: "Change") -> dict[str, Any]:
    from headrace.core.version_diff import reason_of  # noqa: PLC0415

    return {
        "change": change.kind.value,
        "sample_id": change.sample_id,
        "why": reason_of(change),
        "before": change.before._asdict() if change.before else None,
        "after": change.after._asdict() if change.after else None,
        "retracted": change.retracted._asdict() if change.retracted else None,
    }


async def _tagged(name: str, tag_name: str, version: str, *, delete: bool) -> list[dict[str, Any]]:
    from headrace.adapters.versions.tags import TagTaken, create_tag, delete_tag, tags  # noqa: PLC0415

    async with open_versions() as versions:
        if delete:
            if not await delete_tag(versions.objects, name, tag_name):
                raise CannotDo(f"dataset {name} has no tag {tag_name}")
            return []
        if tag_name:
            found = await versions.version(name, version)
            try:
                return [(await create_tag(versions.objects, tag_name, found)).model_dump(mode="json")]
            except TagTaken as taken:
                raise CannotDo(str(taken)) from taken
        return [each.model_dump(mode="json") async for each in tags(versions.objects, name)]


async def _verified(name: str, version: str, *, history: bool) -> tuple[int, list[str], dict[str, int]]:
    """How many objects were read, what is wrong with some of them, and how many rows of each kind were forgotten."""
    from headrace.adapters.versions.check import check, check_history  # noqa: PLC0415

    damaged: list[str] = []
    checked, size = 1, 0
    console = Console(stderr=True)
    async with open_versions() as versions:
        found = await versions.version(name, version)
        with console.status("reading shards") as status:
            async for each in (check_history if history else check)(versions, found):
                checked, size = checked + 1, size + each.size_bytes
                damaged += [each.damage] if each.damage else []
                status.update(f"{checked} objects, {size / 2**20:,.0f} MiB, {len(damaged)} damaged")
    return checked, damaged, {kind.value: rows for kind, rows in found.manifest.forgotten.items()}
