"""Bad things done to a spine, one after the other."""

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

from headrace.local.services import service_names
from tests.e2e.spine import Spine

SERVICES = service_names()
SESSION_S = 6.0
"""After so long the broker gives the partitions of a paused service to another one."""

Harm = tuple[str, str]
"""What is done and to which part: "kill", "pause", "absence" (killed, and started again seconds later), "refusal" of writes."""
_REFUSAL_S_MAX = 60.0


class Chaos:
    """Does every one of `harms` in an order fixed by the seed, and mends each; kills of `others` follow as long as it takes.

    What ends by itself, since what it needs is away, is started again, as every supervisor does. `wishes` come first, after a
    moment. `has_done_all` says that every one of `harms` was done. Between two harms it rests for a
    time within `rest_s`. From the main thread, always: the kernel ends a tethered process when the thread that started it ends.
    """

    def __init__(
        self,
        spine: Spine,
        rng: random.Random,
        harms: Sequence[Harm],
        others: Sequence[str],
        rest_s: tuple[float, float] = (0.3, 1.5),
    ) -> None:
        self._spine = spine
        self._rng = rng
        self._bag = rng.sample(harms, len(harms))
        self._others = others
        self._rest_s = rest_s
        self.wishes: queue.SimpleQueue[Harm] = queue.SimpleQueue()
        self.done: Counter[str] = Counter()
        self.has_done_all = False

    def rage(self, while_alive: threading.Thread) -> None:
        """Goes on for as long as the thread lives, and at least until every kind of harm was done once."""
        while self._bag or while_alive.is_alive():
            harm = self._next()
            self._spine.revive()
            if harm is not None:
                self._harm(*harm)
                self.done[" ".join(harm)] += 1
            self.has_done_all = not self._bag
        self._spine.revive()

    def _next(self) -> Harm | None:
        try:
            wish = self.wishes.get(timeout=self._rng.uniform(*self._rest_s))
        except queue.Empty:
            if self._bag:
                return self._bag.pop()
            return ("kill", self._rng.choice(self._others)) if self._others else None
        time.sleep(self._rng.uniform(0, 1.5))
        return wish

    def _harm(self, kind: str, name: str) -> None:
        if kind == "pause":
            self._spine.pause(name)
            time.sleep(SESSION_S + self._rng.uniform(1, 3))
            self._spine.wake(name)
            return
        if kind == "refusal":
            self._refuse()
            return
        self._spine.kill(name)
        time.sleep(self._rng.uniform(2, 5) if kind == "absence" else self._rng.uniform(0, 0.5))
        self._spine.restart(name)
        if name not in SERVICES:  # else the next harm would fall into its absence, and so on
            self._spine.wait_until_it_serves(name)

    def _refuse(self) -> None:
        """The object store answers 503 to writes: until one was refused, if any comes, and a while longer."""
        gate = self._spine.store_gate
        assert gate is not None, "this spine was not started with a gate before its object store"
        before, deadline = gate.refused, time.monotonic() + _REFUSAL_S_MAX
        gate.refuses_writes = True
        try:
            while gate.refused == before and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(self._rng.uniform(2, 5))
        finally:
            gate.refuses_writes = False
