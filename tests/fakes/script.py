"""A part of a stack that is a line of Python, and how to wait for what becomes of it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from headrace.local.launch import Launch, Place, Say

SLEEPS = "import time; time.sleep(600)"


async def _answers() -> None:
    """A probe of a server that needs no time."""


@dataclass
class Script:
    """A part that runs a line of Python."""

    code: str
    ready_s: float = 10
    probe: Callable[[], Coroutine[Any, Any, None]] = _answers
    name: str = "script"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ()
    prepared: list[Place] = field(default_factory=list)

    def prepare(self, place: Place, say: Say) -> Launch:
        say("preparing the script")
        self.prepared.append(place)
        return Launch(
            command=(sys.executable, "-c", self.code),
            folder=None,
            log=place.log,
            probe=self.probe,
            ready_s=self.ready_s,
            stop_s=2,
        )


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Returns once that is so. Raises TimeoutError where it takes longer."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # processes tell nobody
            await asyncio.sleep(0.02)
