"""The `headrace` command."""

import os

import typer

from headrace.adapters.kafka.unreachable import quiet_clients
from headrace.cli import (
    checkpoint,
    dataset,
    demo,
    dlq,
    experiment,
    index,
    lag,
    policy,
    replay,
    run,
    sample,
    stack,
    submit,
    subscribe,
    topics,
    train,
    watch,
)
from headrace.cli import round as rounds  # the module has the command's name, which is a builtin's
from headrace.cli.failures import Headrace
from headrace.local.state import find_stack

app = typer.Typer(
    name="headrace",
    cls=Headrace,
    help="Stream training data through model signals, diversity, validation and admission into dataset versions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# In the order in which a newcomer meets them: `headrace --help` keeps it.
for area in (
    stack,
    demo,
    experiment,
    dataset,
    train,
    checkpoint,
    rounds,
    policy,
    submit,
    subscribe,
    watch,
    sample,
    replay,
    lag,
    dlq,
    topics,
    index,
    run,
):
    app.add_typer(area.app)


@app.callback()
def prepare(context: typer.Context) -> None:
    """Makes the running local stack's settings ours, where the user has not set them."""
    # Read when numpy is first imported. Our matrices are small: threads that wait for the next product, spinning, cost more
    # than they save, and take the processor from the other services.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if context.invoked_subcommand != "run":  # services log what their clients say; a command says it itself, in one line
        quiet_clients()
    if context.invoked_subcommand not in stack.COMMANDS:
        find_stack()


def main() -> None:
    """Entry point of the `headrace` script."""
    app()


if __name__ == "__main__":
    main()
