"""What every state folder shares is made once and whole."""

import threading

import pytest

from headrace.local.cache import cache_folder, once


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_it_is_made_once_however_many_want_it():
    """Those who come while it is being made wait and get the same."""
    made = []

    def make(folder):
        made.append(folder)
        (folder / "part").write_text("x")

    threads = [threading.Thread(target=once, args=("thing", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (cache_folder() / "thing" / "part").read_text() == "x"


def test_what_failed_is_not_taken_for_whole():
    """A failure leaves nothing, and the next try makes it."""

    def fail(folder):
        (folder / "part").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        once("thing", fail)
    assert not (cache_folder() / "thing").exists()
    once("thing", lambda folder: None)
    assert sorted(path.name for path in cache_folder().iterdir()) == ["thing", "thing.lock"]


def test_what_a_killed_process_left_is_removed():
    """Half-made folders do not pile up."""
    left = cache_folder() / "thing.making-dead"
    left.mkdir(parents=True)
    once("thing", lambda folder: None)
    assert not left.exists()
