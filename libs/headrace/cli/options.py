"""Options that several commands share, so that they are called the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dataset = Annotated[str, typer.Option("--dataset", "-d", help="The dataset's id.")]
AnyDataset = Annotated[str, typer.Option("--dataset", "-d", help="One dataset; all of them where none is named.")]
PolicyFile = Annotated[Path, typer.Option("--file", "-f", help="A policy file, YAML; - reads standard input.")]
VersionName = Annotated[
    str,
    typer.Option(
        "--version", help="A version's number, its id or the beginning of it, a tag, or main~1 for the one before the latest."
    ),
]
