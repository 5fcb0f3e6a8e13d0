"""`headrace` commands in this process: a process of their own takes longer to start than most of them have to do."""

import asyncio
import os
from collections.abc import Mapping
from unittest.mock import patch

from typer.testing import CliRunner, Result

from headrace.cli.main import app


def command(environment: Mapping[str, str], *arguments: str, stdin: str | None = None) -> Result:
    """How it ended; one at a time, since it has the process's environment and output to itself.

    Of settings it sees those given and no others, as in a process of its own.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    with patch.dict(os.environ, others | dict(environment), clear=True):
        return CliRunner().invoke(app, arguments, input=stdin)


async def said(environment: Mapping[str, str], *arguments: str, fails: bool = False) -> str:
    """What it printed, or its error where it is to fail."""
    result = await asyncio.to_thread(command, environment, *arguments)
    assert bool(result.exit_code) == fails, f"{arguments}: {result.output} {result.exception!r}"
    return result.stderr if fails else result.stdout
