"""The `headrace` command."""

import typer

app = typer.Typer(
    name="headrace",
    help="Stream training data through model signals, diversity, validation and admission into dataset versions.",
    no_args_is_help=True,
    add_completion=False,
)


def main() -> None:
    """Entry point of the `headrace` script."""
    app()
