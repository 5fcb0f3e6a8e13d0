"""A clock for deadlines: what sets the wall clock meanwhile moves none of them."""

import logging
import time
from collections.abc import Callable

SLEWED_S_MAX = 5.0
"""Further than that a wall clock does not drift between two looks: it was set, or the machine slept."""

_log = logging.getLogger("headrace.runtime")


class SteadyClock:
    """Unix seconds that go on evenly as long as the process runs.

    It begins at the wall clock and goes on with the monotonic one. A wall clock that drifts is followed; one that jumps, forward
    or back, is not, until it comes back or the process is started again. Each jump is logged once.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._has_jumped = False

    def __call__(self) -> float:
        """The time, Unix seconds."""
        steady, wall = self._monotonic() + self._offset, self._wall()
        ahead = wall - steady
        has_jumped = abs(ahead) > SLEWED_S_MAX
        if has_jumped and not self._has_jumped:
            _log.warning("the clock jumped by %+.0f s: deadlines go on as before; restart this process to take it over", ahead)
        self._has_jumped = has_jumped
        if has_jumped:
            return steady
        self._offset += ahead
        return wall
