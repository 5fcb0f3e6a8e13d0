"""Slow spine, slow intake: the further the services lag behind, the fewer samples are read, and beyond a limit none is."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from headrace.runtime.telemetry import Attribute, Metric, Telemetry

_log = logging.getLogger("headrace.gateway")
ReadLag = Callable[[], Awaitable[int]]
"""How many records the spine is behind, over all its services; raises LagUnknown."""

_OPEN_SHARE_MIN = 0.02


class LagUnknown(Exception):
    """Kafka did not tell how far the spine is behind."""


class LagGate:
    """Open while the spine lags at most half of `lag_max` records behind; the further beyond, the shorter from look to look.

    What passes does so in bursts, which make full batches all the way down the spine: one at a time, samples would cost each
    service a transaction each, and a spine that is behind would fall further behind.
    """

    def __init__(self, lag_max: int, telemetry: Telemetry) -> None:
        self._lag_max = lag_max
        self._telemetry = telemetry
        self._open = asyncio.Event()
        self._open.set()
        self.lag = 0

    @property
    def closed(self) -> bool:
        """Whether nothing passes, however long one waits, until the spine has caught up."""
        return self.lag > self._lag_max

    @property
    def open_share(self) -> float:
        """The part of the time, 0 to 1, that the gate is open while the spine is so far behind."""
        if self.closed:
            return 0.0
        half = self._lag_max / 2
        return 1.0 if self.lag <= half else max(_OPEN_SHARE_MIN, (self._lag_max - self.lag) / half)

    async def passed(self, entry: str) -> None:
        """Returns at once while the gate is open, else when it opens again."""
        if self._open.is_set():
            return
        began = time.monotonic()
        try:
            await self._open.wait()
        finally:
            self._telemetry.record(Metric.GATEWAY_THROTTLED, time.monotonic() - began, {Attribute.ENTRY: entry})

    def set_lag(self, lag: int) -> None:
        """Take note of how far the spine is behind."""
        was_closed, self.lag = self.closed, lag
        if self.closed:
            self._open.clear()
        else:
            self._open.set()
        if self.closed and not was_closed:
            _log.warning("intake pauses: the spine is %d records behind (HEADRACE_GATEWAY_LAG_MAX is %d)", lag, self._lag_max)
        elif was_closed and not self.closed:
            _log.info("intake goes on: the spine is %d records behind", lag)

    async def follow(self, read_lag: ReadLag, poll_s: float) -> None:
        """Look the lag up until cancelled. While it cannot be read the last one counts: Kafka itself slows intake then."""
        readable = True
        while True:
            try:
                lag, readable = await read_lag(), True
            except LagUnknown as error:
                if readable:
                    _log.warning("the spine's lag cannot be read: %s", error)
                lag, readable = self.lag, False
            self.set_lag(lag)
            open_s = self.open_share * poll_s
            await asyncio.sleep(open_s)
            if open_s < poll_s:
                self._open.clear()
                await asyncio.sleep(poll_s - open_s)
