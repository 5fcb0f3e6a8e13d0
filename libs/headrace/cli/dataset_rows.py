"""`headrace dataset rows` and `lineage`: single rows of a version, and where they come from."""

import asyncio
import base64
import json
import math
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from headrace.cli.options import AsJson, VersionName
from headrace.cli.version_reading import TABLE_ROWS_MAX, DatasetName, open_versions

if TYPE_CHECKING:  # Arrow costs most of a second that `headrace --help` need not pay
    from headrace.adapters.versions.lineage import Ancestor, Decided, Lineage, TakenBack
    from headrace.core.versions import RowKind

app = typer.Typer()

CELL_CHARS_MAX = 120
_ID_CHARS_MIN = 24
_RETRACTIONS = "sample_id, revision, reason, note, requested_by, requested_at"
_FOR_PEOPLE = "sample_id, revision, reason, loss_mean, density, origin_kind, messages[-1].content AS answer"


@app.command()
def rows(
    name: DatasetName,
    version: VersionName = "",
    where: Annotated[
        str, typer.Option(help="A condition in DuckDB's SQL, as in \"density < 0.4 AND origin_kind = 'generated'\".")
    ] = "",
    columns: Annotated[str, typer.Option(help='What to select, in SQL: names or expressions, as in "histogram(reason)".')] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many rows; 0 for all.")] = 20,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Longest time of the query, in seconds.")] = 600,
    *,
    rejected: Annotated[bool, typer.Option("--rejected", help="Of the rejected rows instead of the accepted ones.")] = False,
    retractions: Annotated[
        bool, typer.Option("--retractions", help="Of the rules that took samples back: who, why, when, up to which revision.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a version's rows by SQL: DuckDB runs on verified copies of the shards, and can read nothing else.

    All shards of the kind are copied first, since a copy is verified as a whole, so a large version takes its size on local disk
    and the time to fetch it. Fewer are where the condition bounds sample_id (--where "sample_id = 'x'", <, >, BETWEEN, IN, joined
    by AND), or where only so many rows are asked for, without --where and --columns.

    --json prints a JSON object a line, with all columns but the dossier unless --columns says otherwise.
    """
    from headrace.adapters.versions.rows import QueryLimits, RowsAsked  # noqa: PLC0415
    from headrace.core.versions import RowKind  # noqa: PLC0415

    if not as_json:
        limit = min(limit or TABLE_ROWS_MAX, TABLE_ROWS_MAX)
    if rejected and retractions:
        raise typer.BadParameter("--rejected or --retractions, not both")
    kind = RowKind.RETRACTIONS if retractions else RowKind.REJECTED if rejected else RowKind.ACCEPTED
    asked = RowsAsked(kind, where, columns or _chosen(kind, as_json=as_json), limit or None)
    asyncio.run(_rows(name, version, asked, QueryLimits(seconds_max=timeout_s), as_json=as_json))


@app.command()
def lineage(
    name: DatasetName,
    sample_id: Annotated[str, typer.Argument(metavar="SAMPLE", help="The sample's id.")],
    version: VersionName = "",
    limit: Annotated[
        int, typer.Option(min=1, max=500, help="At most so many samples: it and its ancestors, nearest first.")
    ] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """Show where a row comes from: its parents and theirs, what was decided under which policy, and the events that carried it.

    Of a sample that was taken back: the rule, its reason and note, who asked for it, and the last version that had it.

    Ends with 1 where the version does not know the sample.
    """
    found = asyncio.run(_lineage(name, version, sample_id, limit))
    known = bool(found.ancestors[0].decided or found.ancestors[0].taken_back)
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        typer.echo(json.dumps({"dataset": name, "sample_id": sample_id, **asdict(found)}, default=plain))
    elif known:
        Console().print(_tree(name, found))
    else:
        typer.echo(f"no decision on {sample_id!a} is in that version: `headrace sample show` looks further", err=True)
    if not known:
        raise typer.Exit(1)


def plain(value: Any) -> Any:
    """A value of a row as JSON has it: times in ISO 8601, bytes in Base64, what is no number as null."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, datetime) else value if isinstance(value, str | int | None) else str(value)


def _chosen(kind: "RowKind", *, as_json: bool) -> str:
    """The columns where none are named; empty for all but the dossier."""
    from headrace.core.versions import RowKind  # noqa: PLC0415

    if kind is RowKind.RETRACTIONS:
        return "*" if as_json else _RETRACTIONS
    return "" if as_json else _FOR_PEOPLE


async def _rows(name: str, version: str, asked: Any, limits: Any, *, as_json: bool) -> None:
    from headrace.adapters.versions.rows import rows_asked  # noqa: PLC0415
    from headrace.checks import readable  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    async with open_versions() as versions:
        found = await versions.version(name, version)
        async for batch in rows_asked(versions, found.manifest, asked, limits):
            for row in batch.to_pylist():
                if as_json:
                    typer.echo(json.dumps(plain(row), ensure_ascii=False))
                    continue
                if not table.columns:
                    for column in row:
                        table.add_column(Text(readable(column, CELL_CHARS_MAX)), **_room(column))
                table.add_row(*(Text(readable(_cell(value), CELL_CHARS_MAX)) for value in row.values()))
    if not as_json:
        Console().print(table if table.row_count else "no rows")


def _room(column: str) -> dict[str, Any]:
    """How a column gives way where the terminal is narrow: ids are broken over lines, never cut off; the rest is cut."""
    if column == "sample_id":
        return {"overflow": "fold", "min_width": _ID_CHARS_MIN}
    return {"overflow": "ellipsis", "no_wrap": True}


def _cell(value: Any) -> str:
    value = plain(value)
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def _lineage(name: str, version: str, sample_id: str, limit: int) -> "Lineage":
    from headrace.adapters.versions.lineage import lineage as traced  # noqa: PLC0415

    async with open_versions() as versions:
        return await traced(versions, await versions.version(name, version), sample_id, limit)


def _tree(name: str, found: "Lineage") -> Tree:
    known = {ancestor.sample_id: ancestor for ancestor in found.ancestors}
    shown: set[str] = set()

    def branch(tree: Tree, sample_id: str) -> None:
        ancestor = known.get(sample_id)
        if ancestor is None or sample_id in shown:
            tree.add(Text(f"{_said(sample_id)}: {'above' if ancestor else 'not looked up (--limit)'}"))
            return
        shown.add(sample_id)
        under = tree.add(Text(_said(sample_id), style="bold"))
        for line in _lines(name, ancestor):
            under.add(Text(line))
        for parent in ancestor.parents:
            branch(under, parent)

    root = Tree(Text(f"{name}, where {_said(found.ancestors[0].sample_id)} comes from"))
    branch(root, found.ancestors[0].sample_id)
    return root


def _lines(name: str, ancestor: "Ancestor") -> list[str]:
    from headrace.core.topics import accepted_topic  # noqa: PLC0415

    if not ancestor.decided and not ancestor.taken_back:
        return ["nothing is known of it in this version: it was never decided here, or was replaced or forgotten"]
    lines = [_rule(rule) for rule in ancestor.taken_back]
    if (last := ancestor.last_version) is not None:
        lines.append(f"version {last} was the last that had it: `--version {last}` shows its decisions")
    for decided in ancestor.decided:
        lines += [_decision(decided), _event(decided)]
        if decided.row["verdict"] == "accepted":
            lines.append(f"published on {accepted_topic(name).name} under its id; at which offset is not kept")
    return lines + [
        f"embeddings of {_said(model)} by {each.topic}, partition {each.partition}, offset {each.offset}"
        for model, each in ancestor.embedded
    ]


def _rule(rule: "TakenBack") -> str:
    from headrace.core.retractions import RETRACTION_MEANING, RetractionReason  # noqa: PLC0415

    meaning = next((f" ({RETRACTION_MEANING[each]})" for each in RetractionReason if each == rule.reason), "")
    at = rule.carried
    return _said(
        f"taken back up to revision {rule.revision}: {rule.reason}{meaning}{f', {rule.note}' if rule.note else ''}; asked for by "
        f"{rule.requested_by} {rule.requested_at} by {at.topic}, partition {at.partition}, offset {at.offset}"
    )


def _decision(decided: "Decided") -> str:
    row = decided.row
    recipe = " ".join(row[part] for part in ("origin_recipe", "origin_recipe_version") if row[part])
    model = f", signals of {row['model']} {row['model_version']}" if row["model"] else ""
    return _said(
        f"revision {row['revision']} {row['verdict']} ({row['reason']}) under policy {row['policy_version']}{model}; "
        f"{row['origin_kind']}{f' by recipe {recipe}' if recipe else ''}"
    )


def _event(decided: "Decided") -> str:
    at, taken = decided.carried, f"first in version {decided.first_version}"
    return f"decided {decided.row['decided_at']} by {at.topic}, partition {at.partition}, offset {at.offset}; {taken}"


def _said(text: str) -> str:
    from headrace.checks import readable  # noqa: PLC0415

    return readable(text, 300)
