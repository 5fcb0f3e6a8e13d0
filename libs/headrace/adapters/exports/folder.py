"""A folder that appears whole or not at all, and replaces only what it may."""

import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.adapters.exports.files import Written

MARKER = "headrace-export.json"
"""Says of a folder that it is an export, of what, and which files belong to it."""
_FORMAT = 1
_MARKER_BYTES_MAX = 64 * 1024 * 1024


class FolderTaken(Exception):
    """Something lies in the folder that is no export, or is more than one; the message names it."""


@contextmanager
def folder_in_the_making(target: Path, *, force: bool) -> Iterator[Path]:
    """A folder beside `target` to write to; it becomes `target` when the block ends well, and is gone when it does not.

    An earlier export in its place is replaced. With `force` so is anything else, but never a folder that holds the home or the
    working directory.

    Raises:
        FolderTaken: there is something else in the way.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - a link stays where it is
    _require_replaceable(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    making, lock = _begun(target)
    try:
        making.chmod(0o777 & ~_umask())
        yield making
        _require_replaceable(target, force=force)
        _put_in_place(making, target)
    finally:
        os.close(lock)
        shutil.rmtree(making, ignore_errors=True)


def write_marker(folder: Path, about: dict[str, Any], files: Sequence[Written]) -> None:
    """Declare the folder an export with these files."""
    listed = {file.name: {"sha256": file.sha256, "bytes": file.size_bytes} for file in files}
    text = json.dumps({"format": _FORMAT, **about, "files": listed}, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def _require_replaceable(target: Path, *, force: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise FolderTaken(f"{target} is no folder: name another")
    if not target.exists():
        return
    for kept in (Path.home(), Path.cwd()):
        if kept.is_relative_to(target):
            raise FolderTaken(f"{target} holds {kept}: name another folder")
    if force or not any(target.iterdir()):
        return
    if stranger := _stranger(target):
        raise FolderTaken(f"{target} holds {stranger}, which no export wrote: name another, or replace all of it with --force")


def _stranger(folder: Path) -> str | None:
    """Something in the folder that its marker does not list; any file where there is no marker."""
    listed = _listed(folder / MARKER)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not (path.is_dir() and not path.is_symlink()) and name not in listed:
            return name
    return None if listed else "folders"


def _listed(marker: Path) -> frozenset[str]:
    try:
        if marker.stat().st_size > _MARKER_BYTES_MAX:
            return frozenset()
        value = json.loads(marker.read_bytes())
    except (OSError, ValueError, RecursionError):
        return frozenset()
    files = value.get("files") if isinstance(value, dict) else None
    return frozenset({*files, MARKER}) if isinstance(files, dict) else frozenset()


def _begun(target: Path) -> tuple[Path, int]:
    """A new folder and the lock that says it is being written; the parent's lock keeps others from clearing it in between."""
    parent = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(parent, fcntl.LOCK_EX)
        _clear_abandoned(target)
        making = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
        lock = os.open(making, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(parent)
    return making, lock


def _clear_abandoned(target: Path) -> None:
    """Remove what killed exports to this folder left beside it; one that still runs holds its lock."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.part-*"):
        lock = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _put_in_place(making: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        making.rename(target)  # takes the place of an empty folder
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    old = target.rename(aside / target.name)
    try:
        making.rename(target)
    except OSError:
        old.rename(target)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
