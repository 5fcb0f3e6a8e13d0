"""Kept replies in memory: as many bytes as allowed, the least recently used go first."""

import logging
from collections import OrderedDict

_log = logging.getLogger("headrace.chat")
_OVERHEAD_BYTES = 400
"""What Python spends on an entry beside its value."""


class Shelf:
    """Encoded replies by identity."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._said = False

    def put(self, identity: str, value: bytes) -> None:
        """Keep the value unless there is one; make room for it."""
        if identity in self._values:
            return
        self._values[identity] = value
        self._bytes += len(value) + _OVERHEAD_BYTES
        while self._bytes > self._bytes_max and len(self._values) > 1:
            _, forgotten = self._values.popitem(last=False)
            self._bytes -= len(forgotten) + _OVERHEAD_BYTES
            if not self._said:
                self._said = True
                _log.warning(
                    "replies take more than %d bytes: from now on the least recently used are forgotten, and would be paid again "
                    "if their events came back; HEADRACE_REPLIES_BYTES_MAX gives more room",
                    self._bytes_max,
                )

    def get(self, identity: str) -> bytes | None:
        """The value, which counts as used; None where there is none."""
        value = self._values.get(identity)
        if value is not None:
            self._values.move_to_end(identity)
        return value
