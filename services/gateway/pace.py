"""How fast: a rate for each token, a budget of bytes for all streams together."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable


class Pace:
    """A token bucket that holds one second of its rate (at least one sample). None is no limit.

    Several streams may share one; what one of them takes in advance the others wait for.
    """

    def __init__(self, rate_per_s: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate_per_s = rate_per_s
        self._clock = clock
        self._due = 0.0  # when the bucket is full again

    def wait_s(self) -> float:
        """Seconds until the next sample may pass; 0 when it may now."""
        if self.rate_per_s is None:
            return 0.0
        room = max(1.0, 1.0 / self.rate_per_s) - 1.0 / self.rate_per_s
        return max(0.0, self._due - self._clock() - room)

    async def pass_one(self) -> None:
        """Count one sample, and wait until it may pass."""
        if self.rate_per_s is None:
            return
        wait_s = self.wait_s()
        self._due = max(self._due, self._clock()) + 1.0 / self.rate_per_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)


class ByteBudget:
    """Bytes that may be in flight at a time; who asks for more waits in line, first come first served."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        return self._free

    async def take(self, amount: int) -> int:
        """Waits for room and returns what to give back; more than the whole budget counts as the whole."""
        amount = min(amount, self._total)
        if amount <= self._free and not self._waiting:
            self._free -= amount
            return amount
        turn = asyncio.get_running_loop().create_future()
        place = (amount, turn)
        self._waiting.append(place)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(amount)
            else:
                with contextlib.suppress(ValueError):  # its turn may have been passed over already
                    self._waiting.remove(place)
                self._serve()
            raise
        return amount

    def give_back(self, amount: int) -> None:
        """Frees what `take` returned."""
        self._free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= amount
                turn.set_result(None)
