"""Brings files and folders to the disk: a file whose folder was not brought there may be gone after a power failure."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """A file's content, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """A folder with all that is in it."""
    for each in path.rglob("*"):
        sync(each)
    sync(path)
