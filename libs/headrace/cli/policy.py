"""`headrace policy`: write, check, publish and compare the policies of datasets."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson, Dataset, PolicyFile

if TYPE_CHECKING:  # pydantic and the Kafka client cost half a second that `headrace --help` need not pay
    from headrace.adapters.policies.published import PolicyTopics
    from headrace.core.dossiers import PolicyPublished
    from headrace.core.policies import Policy
    from headrace.core.policy_problems import InvalidPolicy

app = typer.Typer(name="policy", help="Write, check, publish and compare the policies of datasets.", no_args_is_help=True)


@app.command()
def init() -> None:
    """Print a starter policy, every key explained: `headrace policy init > policy.yaml`."""
    typer.echo(resources.files("headrace.cli").joinpath("starter_policy.yaml").read_text("utf-8"), nl=False)


@app.command()
def validate(file: PolicyFile, *, as_json: AsJson = False) -> None:
    """Check a policy file; ends with 1 and names every problem, with its line, when it cannot be followed."""
    from headrace.core.policy_contradictions import warnings_of  # noqa: PLC0415

    policy = read_policy_or_exit(file, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"version": policy.version, "problems": [], "warnings": warnings_of(policy)}))
    else:
        typer.echo(f"{file}: a policy, version {policy.version}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of policy files, each check's settings included; editors complete and check with it."""
    from headrace.checks import policy_json_schema  # noqa: PLC0415

    typer.echo(json.dumps(policy_json_schema(), indent=2))


@app.command()
def checks(*, as_json: AsJson = False) -> None:
    """List the checks that a policy may ask for, with their settings and defaults."""
    from headrace.checks import load, names  # noqa: PLC0415

    found = [load(name) for name in names()]
    if as_json:
        rows = [
            {"check": c.name, "version": c.version, "summary": c.summary, "settings": c.settings_type.model_json_schema()}
            for c in found
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("check", "setting", "default", ""):
        table.add_column(column, no_wrap=column != "")
    for check in found:
        table.add_row(f"[bold]{check.name}[/bold]", "", "", escape(check.summary))
        for name, field in check.settings_type.model_fields.items():
            table.add_row("", name, escape(json.dumps(field.default)), escape(field.description or ""))
    Console().print(table)


@app.command()
def apply(dataset: Dataset, file: PolicyFile, *, as_json: AsJson = False) -> None:
    """Make a policy the dataset's standing one; services follow it at once. A dataset exists from its first policy on.

    Samples already decided stay as they are: `headrace replay` shows what the policy would change.
    """
    from headrace.adapters.policies.published import policy_in, publish_policy, standing_policies  # noqa: PLC0415

    policy = read_policy_or_exit(file, as_json=as_json)
    topics = _topics()
    standing = asyncio.run(standing_policies(topics)).get(dataset)
    before = policy_in(standing) if standing is not None else None
    published = asyncio.run(publish_policy(dataset, policy, topics, now=time.time()))
    if as_json:
        typer.echo(json.dumps(_row(published)))
        return
    if standing is None:
        typer.echo(f"dataset {dataset} stands under its first policy, version {published.version}")
        return
    typer.echo(f"dataset {dataset} stands under policy {published.version}, before {standing.version}")
    _print_changes(before, policy)


@app.command()
def show(dataset: Dataset, *, as_json: AsJson = False) -> None:
    """Print a dataset's standing policy, as YAML that can be changed and applied again.

    Comments before it tell the standing thresholds, which the system computes: without their section the policy has them
    computed anew when it is applied.
    """
    import yaml  # noqa: PLC0415

    from headrace.adapters.policies.published import policy_in  # noqa: PLC0415

    published = _standing(dataset)
    if as_json:
        typer.echo(json.dumps(_row(published)))
        return
    typer.echo(f"# dataset {dataset}, policy {published.version}, published {_time(published.published_at)}")
    for line in standing_told(policy_in(published)):
        typer.echo(f"# {line}")
    typer.echo(yaml.safe_dump(json.loads(published.policy_json), sort_keys=False, allow_unicode=True), nl=False)


@app.command("ls")
def list_policies(*, as_json: AsJson = False) -> None:
    """List the datasets and the policies they stand under."""
    from headrace.adapters.policies.published import standing_policies  # noqa: PLC0415
    from headrace.checks import readable  # noqa: PLC0415

    standing = asyncio.run(standing_policies(_topics()))
    rows = [_row(standing[dataset]) for dataset in sorted(standing)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("dataset", "policy", "published", "checks", "description"):
        table.add_column(column)
    for row in rows:
        asked = " ".join(request["check"] for request in row["policy"].get("checks", []))
        description = escape(readable(row["policy"].get("description", "")))
        table.add_row(row["dataset"], row["version"], row["published_at"], escape(readable(asked)), description)
    Console().print(table)


@app.command()
def diff(dataset: Dataset, file: PolicyFile, *, as_json: AsJson = False) -> None:
    """Show what a policy file would change in a dataset's standing policy."""
    from dataclasses import asdict  # noqa: PLC0415

    from headrace.adapters.policies.published import policy_in  # noqa: PLC0415
    from headrace.core.policy_changes import changes_between  # noqa: PLC0415

    policy = read_policy_or_exit(file, as_json=as_json)
    before = policy_in(_standing(dataset))
    if as_json:
        typer.echo(json.dumps([asdict(change) for change in changes_between(before, policy)]))
    else:
        _print_changes(before, policy)


def standing_told(policy: "Policy | None") -> Iterator[str]:
    """The standing thresholds in words, line by line; nothing where the policy asks for none."""
    from headrace.checks import readable  # noqa: PLC0415

    if policy is None or not policy.standing.rows:
        return
    standing, found = policy.standing, policy.standing.thresholds
    axes = " and ".join(name for name, is_on in (("loss", standing.hard), ("quality", standing.low_quality)) if is_on)
    if found is None:
        yield f"standing thresholds on {axes}: none yet; they come with a round, or as soon as {standing.rows} samples are"
        yield "scored by the model version that measures"
        return
    measured_by = f"{found.model} version {found.model_version}"
    yield readable(f"standing thresholds on {axes}, for samples that {measured_by} measures ({found.source}, {found.rows} rows):")
    if standing.hard:
        yield f"  loss {_bound_told('at most', found.loss_max, found.loss_mean, found.loss_std, found.loss_m)}"
    if standing.low_quality:
        told = _bound_told("at least", found.quality_min, found.quality_mean, found.quality_std, found.quality_m)
        yield f"  quality {told}"


def _bound_told(side: str, bound: float | None, mean: float | None, std: float | None, m: float | None) -> str:
    if bound is None:
        return "as it is: there was no bound to be had"
    if mean is None or std is None or m is None:
        return f"{side} {bound:.4g}"
    return f"{side} {bound:.4g} (mean {mean:.4g} {'+' if side == 'at most' else '-'} {m:.4g} deviations of {std:.4g})"


def read_policy_or_exit(file: Path, *, as_json: bool) -> "Policy":
    """The policy in a file; ends the command, every problem named, where it is none that can be followed.

    What is probably not meant is told on standard error.
    """
    from headrace import checks as all_checks  # noqa: PLC0415
    from headrace.adapters.policies.file import FILE_BYTES_MAX, parse_policy, read_policy  # noqa: PLC0415
    from headrace.core.policy_contradictions import warnings_of  # noqa: PLC0415
    from headrace.core.policy_problems import InvalidPolicy  # noqa: PLC0415

    try:
        if str(file) == "-":
            policy = parse_policy(sys.stdin.buffer.read(FILE_BYTES_MAX + 1), all_checks.validate)
        else:
            policy = read_policy(file, all_checks.validate)
    except InvalidPolicy as error:
        _report_problems(file, error, as_json=as_json)
        raise typer.Exit(1) from error
    except OSError as error:
        raise CannotDo(f"{file}: {error.strerror}") from error
    for warning in warnings_of(policy):
        typer.echo(f"{file}: warning: {warning}", err=True)
    return policy


def _report_problems(file: Path, error: "InvalidPolicy", *, as_json: bool) -> None:
    if as_json:
        rows = [{"path": p.path, "line": p.line, "message": p.message} for p in error.problems]
        typer.echo(json.dumps({"version": None, "problems": rows}))
        return
    for problem in error.problems:
        typer.echo(f"{file}: {problem}", err=True)


def _topics() -> "PolicyTopics":
    from headrace.adapters.policies.published import PolicyTopics  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    return PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)


def _standing(dataset: str) -> "PolicyPublished":
    from headrace.adapters.policies.published import standing_policies  # noqa: PLC0415

    standing = asyncio.run(standing_policies(_topics()))
    if dataset not in standing:
        known = ", ".join(sorted(standing)) or "none yet"
        raise CannotDo(f"there is no dataset {dataset!r}; datasets: {known}")
    return standing[dataset]


def _row(published: "PolicyPublished") -> dict[str, Any]:
    return {
        "dataset": published.dataset_id,
        "version": published.version,
        "published_at": _time(published.published_at),
        "policy": json.loads(published.policy_json),
    }


def _print_changes(before: "Policy | None", after: "Policy") -> None:
    from headrace.core.policy_changes import changes_between  # noqa: PLC0415

    changes = changes_between(before, after)
    for change in changes:
        typer.echo(f"  {change.path}: {change.before} -> {change.after}")
    if not changes:
        typer.echo("  nothing changes")


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
