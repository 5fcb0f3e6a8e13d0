"""Where the checkout and its two virtual environments are."""

import os
import platform
import sys
from functools import cache
from pathlib import Path

from headrace.local.launch import StackFailed

MODEL_ENVIRONMENT = "HEADRACE_LOCAL_MODEL_ENV"
"""Setting that names the virtual environment of the model side, by default .venv-model in the checkout."""


@cache
def checkout() -> Path:
    """The checkout this package is installed from.

    Raises:
        StackFailed: the package was installed without its services.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "services").is_dir():
        raise StackFailed("this needs a checkout of Headrace: clone it, then `make install`")
    return root


def model_python() -> Path:
    """The interpreter of the model side's environment.

    Raises:
        StackFailed: it is not there.
    """
    folder = Path(os.environ.get(MODEL_ENVIRONMENT) or checkout() / ".venv-model").absolute()
    python = folder / "bin" / "python"
    if not python.exists():
        raise StackFailed(
            f"no model environment at {folder}: `make model-env` (or name a Triton of your own in HEADRACE_SCORING_TRITON)"
        )
    return python


def require_linux() -> None:
    """The servers come as Linux x86-64 programs.

    Raises:
        StackFailed: this is another system.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise StackFailed(
            f"the servers are programs for Linux x86-64, and this is {sys.platform} {platform.machine()}: "
            "name servers of your own (README, Servers of your own), and start the services with `headrace run`"
        )
