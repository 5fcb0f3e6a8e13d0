"""`headrace dataset export`: a version as a folder that other tools read."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson
from headrace.cli.version_reading import open_versions
from headrace.core.exports import LEFT_MEANING, PAIR_MEANING, ExportFormat, PairRule

if TYPE_CHECKING:  # Arrow costs most of a second that `headrace --help` need not pay
    from headrace.adapters.exports.contents import Contents
    from headrace.adapters.exports.export import ExportOptions

app = typer.Typer()


@app.command("export")
def export(
    name: Annotated[
        str,
        typer.Argument(metavar="DATASET[@VERSION]", help="The dataset, and which version of it; the latest if not named."),
    ],
    folder: Annotated[Path, typer.Argument(help="Where to. An earlier export there is replaced, anything else is not.")],
    *,
    form: Annotated[ExportFormat, typer.Option("--format", help="What the rows look like; see above.")] = ExportFormat.PARQUET,
    held_out_share: Annotated[
        float, typer.Option("--split-held-out", metavar="SHARE", help="Share of the prompts to set apart as the split `test`.")
    ] = 0.0,
    held_out_seed: Annotated[
        str, typer.Option("--held-out-seed", metavar="SEED", help="Another seed sets other prompts apart; see above.")
    ] = "",
    rejected: Annotated[bool, typer.Option("--rejected", help="Add the rejected rows as the configuration `rejected`.")] = False,
    licence: Annotated[str, typer.Option("--license", help="For the dataset card, as the Hub writes it: apache-2.0, ...")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the folder whatever is in it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a version to a folder that `datasets.load_dataset` reads, with a dataset card and Croissant metadata.

    parquet and jsonl hold all columns. messages is what TRL's SFTTrainer takes, preference what its DPOTrainer takes (two answers
    to the same prompt, one of which was accepted). alpaca and sharegpt have the keys that
    LLaMA-Factory and others document for them; what was tried is that `datasets.load_dataset` reads the folder, not those tools.

    The split `test` is drawn as trainers draw what they hold out: with the share and the seed of the policy
    (`training.held_out_share`, `training.held_out_seed`) it has exactly the prompts that `headrace train` never trains on.

    Rows that a format cannot express are left out, counted, and listed in left-out.jsonl. The folder appears whole or not at all.
    """
    options = _options(form, held_out_share, held_out_seed, rejected=rejected, licence=licence, force=force)
    contents = asyncio.run(_exported(name, folder, options, quiet=as_json))
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **_told(contents)}))
        return
    manifest = contents.version.manifest
    typer.echo(f"version {manifest.sequence} of {manifest.dataset}, id {contents.version.id}")
    for split in contents.splits:
        typer.echo(f"{split.config} {split.name}: {split.rows} rows in {len(split.files)} files")
    for rule, count in sorted(contents.found_by.items()):
        typer.echo(f"{count} pairs: {PAIR_MEANING[PairRule(rule)]}")
    for reason, count in sorted(contents.left_out.items()):
        typer.echo(f"left out {count}: {LEFT_MEANING[reason]}")
    typer.echo(f'datasets.load_dataset("{folder}")')


def _options(form: ExportFormat, share: float, seed: str, *, rejected: bool, licence: str, force: bool) -> "ExportOptions":
    from headrace.adapters.exports.export import ExportOptions  # noqa: PLC0415

    try:
        return ExportOptions(form, share, seed, rejected=rejected, licence=licence, force=force)
    except ValueError as error:
        raise CannotDo(str(error)) from error


async def _exported(name: str, folder: Path, options: "ExportOptions", *, quiet: bool) -> "Contents":
    from headrace.adapters.exports.export import NothingToExport, export_version, rows_to_read  # noqa: PLC0415
    from headrace.adapters.exports.folder import FolderTaken  # noqa: PLC0415

    dataset, _, version_name = name.partition("@")
    async with open_versions() as versions:
        version = await versions.version(dataset, version_name)
        with _progress(quiet=quiet) as progress:
            task = progress.add_task(options.format.value, total=rows_to_read(version, options))
            try:
                return await export_version(versions, version, folder, options, lambda rows: progress.advance(task, rows))
            except (FolderTaken, NothingToExport) as error:
                raise CannotDo(str(error)) from error


def _progress(*, quiet: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


def _told(contents: "Contents") -> dict[str, Any]:
    return {
        "dataset": contents.version.manifest.dataset,
        "version": contents.version.id,
        "sequence": contents.version.manifest.sequence,
        "format": contents.shape.format.value,
        "rows": contents.rows,
        "splits": [
            {"config": split.config, "split": split.name, "rows": split.rows, "files": [file.name for file in split.files]}
            for split in contents.splits
        ],
        "found_by": dict(contents.found_by),
        "left_out": {reason.value: count for reason, count in contents.left_out.items()},
    }
