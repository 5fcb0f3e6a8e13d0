"""For callers without an event loop, and for those in the middle of one, such as notebooks."""

import asyncio
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")


class LoopThread:
    """An event loop in a thread of its own, so that reading goes on while the caller works."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

    def call(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Runs it there and waits for it. An interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Ends the loop and its thread; nothing may be running there."""
        # There, not here: the caller may have a running loop of its own.
        self.call(self._loop.shutdown_asyncgens)
        self.call(self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
