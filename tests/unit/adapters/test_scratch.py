"""Folders for the time being: gone with their work, and where their process was killed, with the next one's."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.adapters import scratch
from headrace.adapters.scratch import scratch_folder

HOLDER = """
import sys, time
from pathlib import Path
from headrace.adapters.scratch import scratch_folder
with scratch_folder("cut", Path(sys.argv[1])) as folder:
    (folder / "half.parquet").write_text("half")
    print(folder.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that works in such a folder, and the folder."""
    process = subprocess.Popen((sys.executable, "-c", HOLDER, str(tmp_path)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, tmp_path / process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_folder_is_made_and_gone_afterwards_whatever_happens(tmp_path: Path):
    """Its parent is made too, and stays."""

    def fail_in_it() -> None:
        with scratch_folder("cut", tmp_path / "not" / "there") as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("x")
            raise LookupError

    with pytest.raises(LookupError):
        fail_in_it()
    assert list((tmp_path / "not" / "there").iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(holder, tmp_path: Path):
    """Nobody holds it any more."""
    process, left = holder
    process.kill()
    process.wait()
    assert (left / "half.parquet").exists()
    with scratch_folder("cut", tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_what_a_living_process_works_in_stays(holder, tmp_path: Path):
    """Several may work side by side."""
    _, held = holder
    with scratch_folder("cut", tmp_path) as folder, scratch_folder("cut", tmp_path) as another:
        assert {*tmp_path.iterdir()} == {held, folder, another}
    assert (held / "half.parquet").exists()


def test_other_kinds_and_what_others_put_there_stay(tmp_path: Path):
    """Only folders of the same kind are looked at, and no link is followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "headrace-scratch-rows-1").mkdir()
    (tmp_path / "headrace-scratch-cut-1").write_text("a file")
    (tmp_path / "headrace-scratch-cut-2").symlink_to(elsewhere)
    before = {*tmp_path.iterdir()}
    with scratch_folder("cut", tmp_path):
        pass
    assert {*tmp_path.iterdir()} == before


def test_a_folder_that_was_swept_before_it_was_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Between the two steps another process' sweep may take it."""
    locked, seen = scratch._locked, []

    def first_in_vain(folder: Path) -> int | None:
        seen.append(folder)
        return None if len(seen) == 1 else locked(folder)

    monkeypatch.setattr(scratch, "_locked", first_in_vain)
    with scratch_folder("select", tmp_path) as folder:
        assert [*tmp_path.iterdir()] == [folder] == seen[1:]


def test_where_nothing_can_be_locked_an_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Some file systems know no locks."""
    monkeypatch.setattr("headrace.adapters.scratch._locked", lambda _: None)
    with pytest.raises(OSError, match="cannot be locked"), scratch_folder("select", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
