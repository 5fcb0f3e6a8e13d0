"""`headrace run`: what a container starts."""

from typing import Annotated

import typer

from headrace.cli.failures import CannotDo, needed

app = typer.Typer()

Names = Annotated[list[str], typer.Argument(metavar="SERVICE...", help="Services to run in this one process.")]


@app.command()
def run(names: Names) -> None:
    """Run one or several services in this process until SIGTERM.

    Settings come from HEADRACE_* environment variables; what keeps a service from starting is one line that names the one to
    change. `/livez` and `/readyz` are served on HEADRACE_HEALTH_PORT.
    """
    try:
        from headrace.runtime.app import run_services  # noqa: PLC0415

        code = run_services(names)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(("headrace", "services")):
            raise
        raise CannotDo(f"{error.name} is not installed here: {needed(','.join(names))}") from error
    raise typer.Exit(code)
