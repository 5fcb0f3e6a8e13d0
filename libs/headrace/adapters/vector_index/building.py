"""A merge under way: copies of the parts that it takes, and the process that makes one of them."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.adapters.vector_index import log
from headrace.adapters.vector_index.part import BuiltPart, Part

_log = logging.getLogger("headrace.vector_index")
_MERGING = "headrace.adapters.vector_index.merging"
_WRITTEN_ONCE = frozenset({"matrix.dat", "quantized.data", log.NAME})
"""Vectors of a part that has its graph: most of it. What is removed from it is noted elsewhere. A log is only added to."""


def to_merge(sizes: Sequence[int], at_least: int = 1) -> int:
    """How many of the sealed parts, sizes given oldest first, the next merge takes from the young end.

    An older part is taken once the younger ones together are about as large: so each point is merged a logarithmic number
    of times, and the number of parts is logarithmic too. `at_least`: down to the oldest that has no graph, however small
    the younger ones have become.
    """
    taken = at_least
    total = sum(sizes[-taken:])
    for size in reversed(sizes[:-taken]):
        if size > total * 3 // 2:
            break
        taken, total = taken + 1, total + size
    return taken


@dataclass(eq=False, slots=True)
class Build:
    """Its sources, its target, and the ids taken out of the sources since it began."""

    sources: Sequence[Part]
    target: Path
    copies: Path
    removed: set[str] = field(default_factory=set)
    _process: subprocess.Popen[bytes] | None = None
    _given_up: bool = False

    def start(self) -> None:
        """Nothing may write to the sources meanwhile. Where it cannot be started it has failed, and `result` is None."""
        command = [sys.executable, "-m", _MERGING, str(self.target), str(self.copies)]
        try:
            for age, part in enumerate(self.sources):
                # A copy, because only one process may have a shard open. They are as a killed process would leave them, and
                # the log in them makes that good.
                shutil.copytree(part.path, self.copies / f"{age:06}", copy_function=_copy)
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module, no shell
        except (OSError, shutil.Error) as error:
            _log.error("a merge into %s cannot be started: %s", self.target, error)

    def kill(self) -> None:
        """Gives it up, quietly: `result` is None then."""
        self._given_up = True
        if self._process is not None:
            self._process.kill()

    def result(self) -> BuiltPart | None:
        """Waits for what is built, and opens it; None where that failed, and nothing of it is left."""
        code = self._code()
        shutil.rmtree(self.copies, ignore_errors=True)
        if code == 0:
            try:
                return BuiltPart(self.target)
            except log.DamagedIndex:
                _log.exception("what was merged cannot be opened")
        elif code is not None and not self._given_up:
            _log.error("merging into %s ended with code %d", self.target, code)
        self.discard()
        return None

    def discard(self) -> None:
        """Removes what was built."""
        shutil.rmtree(self.target, ignore_errors=True)

    def _code(self) -> int | None:
        if self._process is None:
            return None
        code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code


def _copy(source: str, target: str) -> str:
    """Copies a file without filling its holes: the engine's files are mostly holes. Those never written again are linked."""
    name = os.path.basename(source)  # noqa: PTH119 - as shutil gives it
    if name in _WRITTEN_ONCE or name.startswith("closed-"):
        os.link(source, target)
        return target
    with open(source, "rb") as read, open(target, "wb") as write:  # noqa: PTH123 - as shutil gives them
        size = os.fstat(read.fileno()).st_size
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(read.fileno(), offset, os.SEEK_DATA)
            except OSError:  # no data behind this point
                break
            end = os.lseek(read.fileno(), offset, os.SEEK_HOLE)
            while offset < end:
                os.lseek(write.fileno(), offset, os.SEEK_SET)
                offset += os.sendfile(write.fileno(), read.fileno(), offset, end - offset)
        write.truncate(size)
    return target
