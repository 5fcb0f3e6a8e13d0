"""The engine in process on a disk that is full or fails: it says Stop, and whoever comes again loses nothing."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.engine import Point
from headrace.adapters.vector_index.parts import TABLE
from headrace.core.events import Stop

NAME = "headrace.full.flight"


def point(number: int) -> Point:
    return Point(f"00000000-0000-0000-0000-{number:012}", {"sample_id": f"s{number}", "order": number})


def engine_in(folder: Path) -> EdgeEngine:
    return EdgeEngine(folder, flight_points_max=10)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Writing beyond so many bytes of a file fails, as on a full disk."""
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def unsynced(monkeypatch: pytest.MonkeyPatch, beginning: str) -> Iterator[None]:
    """Files whose names begin so cannot be brought to the disk."""
    sync = os.fsync

    def failing(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(beginning):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        yield


def log_size(folder: Path) -> int:
    [log] = folder.rglob("points.log")
    return log.stat().st_size


async def there(engine: EdgeEngine, count: int) -> set[str]:
    found = await engine.get(NAME, [point(n).id for n in range(count)], vectors=False)
    return {str(each.payload["sample_id"]) for each in found.values()}


async def test_a_full_disk_stops_and_what_comes_again_is_written_once(tmp_path: Path) -> None:
    """Nothing is wrong with the samples: writes say Stop and what to look at; the log has no half of them in its middle."""
    engine = engine_in(tmp_path)
    await engine.create(NAME, 4, searched=False)
    await engine.add(NAME, [point(0)])
    for write in (engine.add, engine.put):
        with no_file_longer_than(log_size(tmp_path) + 9), pytest.raises(Stop, match="HEADRACE_DIVERSITY_INDEX_PATH"):
            await write(NAME, [point(1), point(2)])
    assert await there(engine, 4) == {"s0"}
    await engine.add(NAME, [point(1), point(2)])
    await engine.add(NAME, [point(3)])
    await engine.close()
    again = engine_in(tmp_path)
    assert await there(again, 4) == {"s0", "s1", "s2", "s3"}
    assert await again.count(NAME) == 4
    await again.close()


async def test_a_collection_that_cannot_be_made_or_dropped_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked comes again: it is made once there is room."""
    engine = engine_in(tmp_path)
    with no_file_longer_than(3), pytest.raises(Stop):
        await engine.create(NAME, 4, searched=False)
    assert not await engine.names()
    await engine.create(NAME, 4, searched=False)
    await engine.add(NAME, [point(0)])
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", _fails)
        with pytest.raises(Stop):
            await engine.drop(NAME)
    await engine.close()


def _fails(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_what_is_written_after_a_part_could_not_be_sealed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table could not name the next part, so the full one goes on: nothing lies where the next start would not look."""
    engine = engine_in(tmp_path)
    await engine.create(NAME, 4, searched=False)
    with unsynced(monkeypatch, TABLE):
        for numbers in (range(10), range(10, 12)):
            with pytest.raises(Stop):
                await engine.add(NAME, [point(n) for n in numbers])
    await engine.close()
    again = engine_in(tmp_path)
    assert await there(again, 12) == {f"s{n}" for n in range(12)}
    await again.close()
