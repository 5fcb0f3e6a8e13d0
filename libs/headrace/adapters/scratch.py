"""Folders for what is needed only meanwhile: gone afterwards, and where a process was killed, taken away by the next one."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_log = logging.getLogger("headrace.scratch")
_PREFIX = "headrace-scratch"
_TRIES = 10


@contextmanager
def scratch_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder of its own for work of that kind, under `parent`, which is made if need be, or where the system has such.

    Whoever holds it has it locked, and a lock ends with its process. So what lies beside it unlocked was left by one that was
    killed: a process looks for such when it first makes a folder of the kind there.

    Raises:
        OSError: the parent cannot be written to, or has no room.
    """
    at = parent or Path(tempfile.gettempdir())
    at.mkdir(parents=True, exist_ok=True)
    _sweep(kind, at)
    folder, lock = _made(kind, at)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a thread whose work was cancelled may still write there
        os.close(lock)


@cache
def _sweep(kind: str, at: Path) -> None:
    """Takes away what nobody holds. Once in a process: what it leaves itself when it is killed is for the next one."""
    for left in at.glob(f"{_PREFIX}-{kind}-*"):
        lock = _locked(left)
        if lock is not None:
            _log.info("%s was left by a process that was killed, and is removed", left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _made(kind: str, at: Path) -> tuple[Path, int]:
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{kind}-", dir=at))
        lock = _locked(folder)
        if lock is not None:
            return folder, lock
        shutil.rmtree(folder, ignore_errors=True)  # another process' sweep saw it before it was locked, and takes it away
    raise OSError(f"{at}: folders that are made there cannot be locked")


def _locked(folder: Path) -> int | None:
    """The descriptor that locks our folder until it is closed; None where another has it, it is gone, or is not ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid == os.getuid() and folder.exists():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
