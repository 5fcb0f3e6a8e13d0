"""Slow spine, slow intake: the further the services lag behind, the slower samples are read, and beyond a limit none is."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from headrace.runtime.telemetry import Attribute, Metric, Telemetry

_log = logging.getLogger("headrace.gateway")
ReadLag = Callable[[], Awaitable[int]]
"""How many records the spine is behind, over all its services; raises LagUnknown."""


_STEPS = ((0.875, 0.025), (0.75, 0.005), (0.5, 0.001))
"""From which share of the limit on each sample of a stream, or batch of records, waits how many seconds."""


class LagUnknown(Exception):
    """Kafka did not tell how far the spine is behind."""


class LagGate:
    """Open while the spine lags at most `lag_max` records behind; from half of that on it lets pass more and more slowly."""

    def __init__(self, lag_max: int, telemetry: Telemetry) -> None:
        self._lag_max = lag_max
        self._telemetry = telemetry
        self._open = asyncio.Event()
        self._open.set()
        self._pause_s = 0.0
        self.lag = 0

    @property
    def closed(self) -> bool:
        return not self._open.is_set()

    async def passed(self, entry: str) -> None:
        """Returns at once while the spine is well up, a moment later while it lags, and else when the gate opens again."""
        if self._open.is_set() and not self._pause_s:
            return
        began = time.monotonic()
        try:
            await self._open.wait()
            await asyncio.sleep(self._pause_s)
        finally:
            self._telemetry.record(Metric.GATEWAY_THROTTLED, time.monotonic() - began, {Attribute.ENTRY: entry})

    def set_lag(self, lag: int) -> None:
        """Take note of how far the spine is behind."""
        self.lag = lag
        self._pause_s = next((pause_s for share, pause_s in _STEPS if lag > share * self._lag_max), 0.0)
        if lag > self._lag_max and self._open.is_set():
            _log.warning("intake pauses: the spine is %d records behind (HEADRACE_GATEWAY_LAG_MAX is %d)", lag, self._lag_max)
            self._open.clear()
        elif lag <= self._lag_max and not self._open.is_set():
            _log.info("intake goes on: the spine is %d records behind", lag)
            self._open.set()

    async def follow(self, read_lag: ReadLag, poll_s: float) -> None:
        """Look the lag up until cancelled. While it cannot be read the gate stays as it is: Kafka itself slows intake then."""
        readable = True
        while True:
            try:
                self.set_lag(await read_lag())
                readable = True
            except LagUnknown as error:
                if readable:
                    _log.warning("the spine's lag cannot be read: %s", error)
                readable = False
            await asyncio.sleep(poll_s)
