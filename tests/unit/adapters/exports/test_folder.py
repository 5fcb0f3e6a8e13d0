"""The folder of an export: whole or not there, the same bytes each time, and never in place of what is not an export."""

import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from headrace.adapters.exports.files import LineFiles, ParquetFiles
from headrace.adapters.exports.folder import FolderTaken
from headrace.adapters.exports.shapes import PLAIN
from headrace.adapters.exports.sink import _aligned
from headrace.core.exports import ExportFormat
from headrace.core.versions import DamagedVersion, RowKind
from tests.fakes.exporting import Exporting


def contents_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", [form for form in ExportFormat if form is not ExportFormat.PREFERENCE])
async def test_the_same_version_gives_the_same_bytes(form, tmp_path):
    """Every file of two exports is equal, the card and the metadata too."""
    exporting = await Exporting.of_every_kind()
    for name in ("one", "two"):
        await exporting.export(form, tmp_path / name, rejected=True, held_out_share=0.3)
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


async def test_an_earlier_export_is_replaced_and_anything_else_is_not(tmp_path):
    """A file that no export wrote stays; --force says otherwise."""
    exporting, folder = await Exporting.of_every_kind(), tmp_path / "out"
    folder.mkdir()
    await exporting.export(ExportFormat.JSONL, folder)
    await exporting.export(ExportFormat.ALPACA, folder)
    assert "data/train-00000-of-00001.jsonl" in contents_of(folder)
    assert "left-out.jsonl" in contents_of(folder)
    (folder / "data" / "notes.txt").write_text("mine")
    with pytest.raises(FolderTaken, match=r"holds data/notes\.txt, which no export wrote.*--force"):
        await exporting.export(ExportFormat.ALPACA, folder)
    await exporting.export(ExportFormat.MESSAGES, folder, force=True)
    assert contents_of(folder).keys() == {
        "README.md",
        "croissant.json",
        "headrace-export.json",
        "data/train-00000-of-00001.jsonl",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


async def test_files_links_and_the_working_directory_are_never_replaced(tmp_path, monkeypatch):
    """Not even with --force."""
    exporting = await Exporting.of_every_kind()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "here" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "inside")
    for name, told in (("file", "is no folder"), ("link", "is no folder"), ("here", "name another folder")):
        with pytest.raises(FolderTaken, match=told):
            await exporting.export(ExportFormat.JSONL, tmp_path / name, force=True)
    assert (tmp_path / "file").read_text() == "mine"


async def test_a_damaged_version_leaves_no_folder_and_what_was_there_stays(tmp_path):
    """The error names the shard; the earlier export is untouched."""
    exporting = await Exporting.of_every_kind()
    await exporting.export(ExportFormat.JSONL, tmp_path / "out")
    before = contents_of(tmp_path / "out")
    version = await exporting.store.version("maths")
    last = version.manifest.shards_of(RowKind.ACCEPTED)[-1].key
    exporting.objects.objects[last] = exporting.objects.objects[last][:-10]
    for form in (ExportFormat.MESSAGES, ExportFormat.PREFERENCE):
        with pytest.raises(DamagedVersion, match=last):
            await exporting.export(form, tmp_path / "out")
    assert contents_of(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


async def test_what_a_killed_export_left_is_cleared_by_the_next(tmp_path):
    """The folder was never there; one that is still being written by another is left alone."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from headrace.adapters.exports.folder import folder_in_the_making\n"
        "with folder_in_the_making(pathlib.Path(sys.argv[1]), force=False) as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    writers = [
        subprocess.Popen(  # noqa: ASYNC220 - two at once, and the test waits for both
            [sys.executable, "-c", code, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout
            assert writer.stdout.readline() == "writing\n"
        os.kill(writers[0].pid, signal.SIGKILL)
        writers[0].wait()
        assert len(list(tmp_path.iterdir())) == 2
        await (await Exporting.of_every_kind()).export(ExportFormat.JSONL, tmp_path / "out")
        assert (tmp_path / "out" / "README.md").is_file()
        assert len(list(tmp_path.iterdir())) == 2
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_full_files_are_followed_by_others(tmp_path):
    """Their names count them; each holds no more rows than it may, in order."""
    lines = LineFiles(tmp_path, "train", "jsonl", rows_max=4)
    lines.write(f"{n}\n".encode() for n in range(10))
    written = lines.finish(tmp_path)
    assert [file.name for file in written] == [f"train-{n:05}-of-00003.jsonl" for n in range(3)]
    assert b"".join((tmp_path / file.name).read_bytes() for file in written) == b"".join(b"%d\n" % n for n in range(10))


def test_parquet_files_do_not_depend_on_how_rows_come(tmp_path):
    """One by one or all at once: the same files."""
    rows = pa.Table.from_pylist([{"sample_id": f"s{n}", "revision": n} for n in range(10)], schema=PLAIN)
    hashes = []
    for step in (1, 3, 10):
        files = ParquetFiles(tmp_path / str(step), "train", "parquet", rows_max=4)
        for start in range(0, 10, step):
            files.write(rows.slice(start, step))
        hashes.append([file.sha256 for file in files.finish(tmp_path)])
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(hashes[0]) == 3


def test_shards_of_an_earlier_release_may_lack_columns():
    """A column that came later is null in rows that were cut before."""
    rows = _aligned(pa.RecordBatch.from_pylist([{"sample_id": "a", "revision": 1}]), PLAIN)
    assert rows.schema == PLAIN
    assert rows["sample_id"].to_pylist() == ["a"]
    assert rows["model"].null_count == 1
