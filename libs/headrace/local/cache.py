"""Downloads and conversions that every state folder shares: made once, under a lock, and moved into place whole."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Where they lie: $XDG_CACHE_HOME/headrace, by default ~/.cache/headrace."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headrace"


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder of this name; `make(folder)` fills it the first time, whoever else is trying at the same moment.

    A folder that exists is complete: it is made beside its place and moved there when `make` has returned.
    """
    target = cache_folder() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        for left in target.parent.glob(f"{target.name}.making-*"):  # by one that was killed: nobody else is at it now
            shutil.rmtree(left)
        making = Path(tempfile.mkdtemp(prefix=f"{target.name}.making-", dir=target.parent))
        try:
            make(making)
            making.rename(target)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return target
