"""Keeps one process of the stack alive: starts it, watches it, starts it again when it dies."""

import asyncio
import logging
import signal
import subprocess
import time
from collections.abc import Callable

from headrace.local.launch import Launch, Part, Place, StackFailed, clear, signal_group, spawn, tail
from headrace.local.processes import created_at
from headrace.local.state import ProcessState

logger = logging.getLogger("headrace.local")

FIRST_TRIES_MAX = 3
"""A part that ends so often before it ever served is given up."""
POLL_S = 0.1
PROBE_EVERY_S = 3.0
SETTLED_S = 30.0
"""A process that has run this long has earned a quick restart again."""
_DELAYS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)


def restart_delay_s(deaths: int) -> float:
    """How long to wait before the next start after so many deaths in a row."""
    return _DELAYS_S[min(max(deaths, 1), len(_DELAYS_S)) - 1]


class Keeper:
    """One part and its process. `changed` is called whenever its state did."""

    def __init__(self, part: Part, place: Place, changed: Callable[[], None]) -> None:
        self.part = part
        self.place = place
        self.state = ProcessState(ports=dict(place.ports), log=str(place.log))
        self.tells: dict[str, str] = {}
        self.serves = asyncio.Event()
        self.failed = asyncio.Event()
        self._changed = changed
        self._launch: Launch | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def keep(self) -> None:
        """Prepares the part and keeps its process alive until cancelled.

        Raises:
            StackFailed: it cannot be prepared, or never served.
        """
        await self._prepare()
        deaths = 0
        while True:
            up_s, how = await self._live()
            deaths = 1 if up_s > SETTLED_S else deaths + 1
            self._give_up_if_hopeless(deaths, how)
            self.state.restarts += 1
            self._turn("restarting", f"{how} {deaths} times in a row" if deaths > 1 else how)
            await asyncio.sleep(restart_delay_s(deaths))

    def fail(self, error: BaseException) -> None:
        """Takes note that the part was given up."""
        if not isinstance(error, StackFailed):
            logger.error("%s: unexpected", self.part.name, exc_info=error)
        self._turn("failed", str(error) or type(error).__name__)
        self.failed.set()

    async def stop(self) -> None:
        """Ends the process politely, then firmly."""
        if self._process is None or self._launch is None:
            return
        signal_group(self._process.pid, signal.SIGTERM)
        await _ended(self._process, self._launch.stop_s)
        self._clear()
        if self.state.state != "failed":
            self._turn("stopped")

    async def _prepare(self) -> None:
        self._turn("preparing")
        loop = asyncio.get_running_loop()

        def say(step: str) -> None:
            loop.call_soon_threadsafe(self._turn, "preparing", step)

        self._launch = await asyncio.to_thread(self.part.prepare, self.place, say)
        self.tells = dict(self._launch.tells)

    async def _live(self) -> tuple[float, str]:
        """One life of the process, from its start to its end; returns how long it served, in seconds, and how it ended."""
        launch = self._require_launch()
        try:
            process = self._process = spawn(launch)
        except OSError as error:  # no process more, or no space for its log: it may pass
            logger.warning("%s could not be started: %s", self.part.name, error)
            return 0.0, f"could not be started ({error})"
        self.state.pid, self.state.created = process.pid, created_at(process.pid)
        self._turn("starting")
        served_from = await self._until_it_serves(process, launch)
        while process.poll() is None:
            await self._look(launch)
            await _ended(process, PROBE_EVERY_S)
        logger.warning("%s (pid %d) ended with %s", self.part.name, process.pid, process.returncode)
        self._clear()
        return time.monotonic() - served_from if served_from else 0.0, "ended"

    async def _until_it_serves(self, process: subprocess.Popen[bytes], launch: Launch) -> float:
        deadline = time.monotonic() + launch.ready_s
        while process.poll() is None:
            try:
                await launch.probe()
            except OSError as error:
                if time.monotonic() > deadline and not self.serves.is_set():
                    raise StackFailed(f"it did not serve within {launch.ready_s:.0f} s: {error}\n{tail(launch.log)}") from error
                await _ended(process, POLL_S)
                continue
            self.state.since = time.time()
            self.serves.set()
            self._turn("up")
            return time.monotonic()
        return 0.0

    async def _look(self, launch: Launch) -> None:
        try:
            await launch.probe()
        except OSError as error:
            self._turn("unhealthy", str(error))
        else:
            self._turn("up")

    def _give_up_if_hopeless(self, deaths: int, how: str) -> None:
        if not self.serves.is_set() and deaths >= FIRST_TRIES_MAX:
            raise StackFailed(f"it {how} {deaths} times before it served\n{tail(self.place.log)}")

    def _require_launch(self) -> Launch:
        if self._launch is None:
            raise StackFailed(f"{self.part.name} was not prepared")
        return self._launch

    def _clear(self) -> None:
        if self._process is not None:
            clear(self._process, self._require_launch())
            self._process = None
        self.state.pid, self.state.created, self.state.since = 0, 0.0, 0.0

    def _turn(self, state: str, detail: str = "") -> None:
        if (self.state.state, self.state.detail) != (state, detail):
            self.state.state, self.state.detail = state, detail
            self._changed()


async def _ended(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Waits until the process ends, at most so long."""
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110  # nothing sets an event for us
        await asyncio.sleep(POLL_S)
