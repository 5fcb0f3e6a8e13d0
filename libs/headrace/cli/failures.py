"""What goes wrong and can be mended by a person ends a command with one line; what cannot is a fault of ours, with its trace."""

from typing import Any

import typer
from typer.core import TyperGroup

from headrace.local.state import home_folder, is_supervised


class CannotDo(Exception):
    """A command cannot do what it was asked; the message is one line and says what would help."""


class Headrace(TyperGroup):
    """The root command. Whatever a command below it fails with is told here, and nowhere else; the exit code is 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            told = told_of(error)
            if told is None:
                raise
            typer.echo(f"error: {told}", err=True)
            raise typer.Exit(1) from error


def told_of(error: Exception) -> str | None:
    """The line for an error that a person can mend, None for any other."""
    # Here and not above: clients cost most of a second that `headrace --help` need not pay.
    from aiokafka.errors import KafkaError as StreamError  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from headrace.adapters.kafka.unreachable import BrokerUnreachable  # noqa: PLC0415
    from headrace.adapters.versions.store import NoSuchVersion  # noqa: PLC0415
    from headrace.client import PositionGone, UnreadableRecord  # noqa: PLC0415
    from headrace.core.checkpoint_manifests import BadCheckpoint  # noqa: PLC0415
    from headrace.core.events import Stop  # noqa: PLC0415
    from headrace.core.positions import BadPosition  # noqa: PLC0415
    from headrace.core.versions import DamagedVersion  # noqa: PLC0415
    from headrace.local.launch import StackFailed  # noqa: PLC0415
    from headrace.runtime.app import setting_problems  # noqa: PLC0415

    if isinstance(error, BrokerUnreachable | Stop):
        return f"{error}{_hint()}"
    if isinstance(error, ValidationError) and error.title.endswith("Settings"):
        return setting_problems(error)
    if isinstance(error, StreamError | KafkaError):
        return f"Kafka: {error or type(error).__name__}"
    if isinstance(error, CannotDo | DamagedVersion | StackFailed | NoSuchVersion | OSError):  # TimeoutError is an OSError
        return str(error)
    if isinstance(error, BadCheckpoint | BadPosition | PositionGone | UnreadableRecord):
        return str(error)
    return str(error) if type(error) is ValueError else None  # not those of a parser or a codec, which are derived from it


def _hint() -> str:
    return "" if is_supervised(home_folder()) else " (no stack is up here: `headrace up` starts one)"
