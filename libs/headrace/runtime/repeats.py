"""Keeps clients from filling the logs: while a broker is away, aiokafka says so hundreds of times a second."""

import logging
import time
from collections.abc import Callable

REPEAT_S = 10.0
_KINDS_MAX = 256


class Repeats(logging.Filter):
    """Lets one record of each kind (logger, level and message text) through every `REPEAT_S` seconds.

    The next one that passes says how many did not. Only the loggers named, and those under them, are filtered.
    """

    def __init__(self, *loggers: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._loggers = loggers
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in self._loggers:
            return True
        now, kind = self._clock(), (record.name, record.levelno, str(record.msg))
        passed_at, kept = self._kinds.get(kind, (-REPEAT_S, 0))
        if now - passed_at < REPEAT_S:
            self._kinds[kind] = passed_at, kept + 1
            return False
        if kept:
            record.msg, record.args = f"{record.getMessage()} ({kept} more like it before)", None
        if len(self._kinds) >= _KINDS_MAX:
            self._kinds.clear()
        self._kinds[kind] = now, 0
        return True
