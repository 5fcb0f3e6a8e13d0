"""Work that goes on beside a service's handlers, for as long as the service is open, and is missed when it ends before."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from headrace.runtime.service import Ping

_log = logging.getLogger("headrace.runtime")


def background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> Ping:
    """Runs `work` until `stack` closes, under a name that completes "... has ended".

    Where it ends before, that is logged, with what it raised, and the ping raises RuntimeError from then on.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell)
    stack.push_async_callback(_end, task)
    return partial(_running, task)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        _log.error("%s has ended: restart", task.get_name(), exc_info=task.exception())


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _running(task: asyncio.Task[None]) -> None:
    if task.done():
        raise RuntimeError(f"{task.get_name()} has ended: restart")
