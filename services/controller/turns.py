"""One roll-out at a time on one model repository, whoever runs it: a lock that a killed process lets go of."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headrace.core.events import Stop

_LOCK = ".controller.lock"
_POLL_S = 0.2


@dataclass(slots=True)
class Turn:
    """A turn in hand. `announces` is the id of the event that it ends with, empty where it changes nothing."""

    announces: str = ""


class Turns:
    """Gives turns on a repository, one at a time.

    A turn that announces something ends when the announcement is visible (`until_visible` returns then, or after a bounded
    time): whoever has the next one sees it.
    """

    def __init__(self, root: Path, wait_s: float, until_visible: Callable[[str], Awaitable[None]]) -> None:
        self._path = root / _LOCK
        self._wait_s = wait_s
        self._until_visible = until_visible
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """A turn. Raises Stop where others have theirs for too long."""
        lock = await self._locked()
        turn = Turn()
        try:
            yield turn
        except BaseException:
            lock.close()
            raise
        if turn.announces:
            task = asyncio.create_task(self._end(lock, turn.announces), name="end of a turn")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        else:
            lock.close()

    async def close(self) -> None:
        """Ends turns that wait for their announcements."""
        for task in list(self._ending):
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _locked(self) -> IO[str]:
        """The lock file, locked; closing it is letting go."""
        deadline = asyncio.get_running_loop().time() + self._wait_s
        try:
            file = self._path.open("a")
        except OSError as error:
            raise Stop(f"HEADRACE_CONTROLLER_MODEL_REPOSITORY cannot be written: {error}") from error
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    file.close()
                    waited = f"{self._wait_s:g} s (HEADRACE_CONTROLLER_TURN_S_MAX)"
                    raise Stop(f"another roll-out has not ended within {waited}") from None
                await asyncio.sleep(_POLL_S)
            else:
                return file

    async def _end(self, lock: IO[str], announces: str) -> None:
        with lock:
            await self._until_visible(announces)
