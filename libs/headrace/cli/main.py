"""The `headrace` command."""

import os
import sys

import typer

from headrace.adapters.unreachable import BrokerUnreachable
from headrace.cli import dataset, demo, dlq, lag, policy, replay, run, sample, stack, submit, topics, watch
from headrace.local.launch import LocalStackError
from headrace.local.state import environment, home_folder

app = typer.Typer(
    name="headrace",
    help="Stream training data through model signals, diversity, validation and admission into dataset versions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(policy.app)
app.add_typer(replay.app)
app.add_typer(dataset.app)
app.add_typer(sample.app)
app.add_typer(submit.app)
app.add_typer(stack.app)
app.add_typer(demo.app)
app.add_typer(run.app)
app.add_typer(topics.app)
app.add_typer(lag.app)
app.add_typer(dlq.app)
app.add_typer(watch.app)


@app.callback()
def find_stack(context: typer.Context) -> None:
    """Makes the running local stack's settings ours, where the user has not set them."""
    if context.invoked_subcommand not in stack.COMMANDS:
        for name, value in environment(home_folder()).items():
            os.environ.setdefault(name, value)


def main() -> None:
    """Entry point of the `headrace` script."""
    try:
        app()
    except LocalStackError as error:
        stack.report(error)
        sys.exit(1)
    except BrokerUnreachable as error:
        typer.echo(f"headrace: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
