"""Checkpoints: published whole or not at all, fetched only where every byte is what the event says and safe to load."""

import asyncio
import json
import pickle
from dataclasses import replace
from functools import partial

import pytest

from headrace.adapters.checkpoints.seen_file import seen_in
from headrace.adapters.checkpoints.store import CheckpointLimits, CheckpointStore, DamagedCheckpoint, UnsafeCheckpoint
from headrace.adapters.wire.events import decode, encode
from headrace.core.checkpoint_manifests import FORMAT, blob_key, checkpoint_id_of, manifest_bytes, manifest_key
from headrace.core.checkpoints import SEEN_FILE, CheckpointFile, CheckpointKind, CheckpointPublished
from headrace.core.events import Stop
from tests.fakes.checkpoints import adapter_folder, details, safetensors_bytes
from tests.fakes.object_store import FakeObjectStore

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def objects():
    return FakeObjectStore()


@pytest.fixture
def store(objects):
    return CheckpointStore(objects)


@pytest.fixture
async def published(store, tmp_path):
    return await store.publish(adapter_folder(tmp_path / "trained"), details())


def file_named(published, name):
    return next(file for file in published.files if file.name == name)


def replaced(objects, published, **values):
    """The checkpoint under a manifest that was written with other values."""
    manifest = json.loads(objects.objects[published.manifest_key]) | values
    body = json.dumps(manifest).encode()
    key = manifest_key(published.model, checkpoint_id_of(body))
    objects.objects[key], objects._modified[key] = body, 1.0
    changed = replace(published, checkpoint_id=checkpoint_id_of(body), manifest_key=key)
    if "files" in values:
        changed = replace(changed, files=tuple(CheckpointFile(**file) for file in values["files"]))
    return changed


async def test_what_is_published_is_fetched(store, published, tmp_path):
    """Weights and configuration arrive byte by byte; pickles, notes and folders are no part of a checkpoint."""
    await store.fetch(published, tmp_path / "models" / "1")
    fetched = {path.name: path.read_bytes() for path in (tmp_path / "models" / "1").iterdir()}
    assert fetched == {name: (tmp_path / "trained" / name).read_bytes() for name in ("adapter_config.json", WEIGHTS)}
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["1"]


async def test_the_event_survives_the_wire(published):
    """What is announced is the manifest: nothing is lost between store and topic."""
    assert decode(CheckpointPublished, encode(published)) == published


async def test_the_same_again_is_the_same_checkpoint(store, objects, published, tmp_path):
    """Publishing twice writes nothing new and gives the same event, also later; other metrics or weights are another one."""
    before = dict(objects.objects)
    objects.clock = lambda: 2_000.0
    again = await store.publish(adapter_folder(tmp_path / "again"), details())
    assert again == published
    assert objects.objects == before
    other = await store.publish(adapter_folder(tmp_path / "other", fill=2), details())
    assert other.checkpoint_id != published.checkpoint_id
    measured = await store.publish(tmp_path / "again", details(metrics={"train_loss": 1.0}))
    assert measured.checkpoint_id not in {published.checkpoint_id, other.checkpoint_id}
    assert measured.files == published.files


async def test_a_publisher_that_dies_leaves_nothing_visible(store, objects, tmp_path):
    """Whatever write a publisher dies at, there is no manifest; the next attempt publishes the whole checkpoint."""
    folder = adapter_folder(tmp_path / "trained")

    def die(doomed, key):
        if doomed in key:
            raise Stop("killed")

    for doomed in ("blobs", "signals"):
        objects.before_write = partial(die, doomed)
        with pytest.raises(Stop):
            await store.publish(folder, details())
        assert not [key for key in objects.objects if key.endswith(".json")]
    objects.before_write = lambda _: None
    published = await store.publish(folder, details())
    await store.fetch(published, tmp_path / "fetched")


async def test_a_folder_that_is_there_is_checked_and_mended(store, objects, published, tmp_path):
    """A folder with exactly these files is left alone; one that differs is fetched anew."""
    into = tmp_path / "model"
    await store.fetch(published, into)
    blobs = {key: objects.objects.pop(key) for key in list(objects.objects) if "blobs" in key}
    await store.fetch(published, into)
    objects.objects.update(blobs)
    (into / "adapter_config.json").write_text("{}")
    (into / "model.py").write_text("pass")
    await store.fetch(published, into)
    assert sorted(path.name for path in into.iterdir()) == ["adapter_config.json", WEIGHTS]
    assert (into / "adapter_config.json").read_text() == '{"r": 8}'


@pytest.mark.parametrize(
    ("damage", "says"),
    [(lambda body: body[:-1], "cut off"), (lambda body: body[:-1] + b"?", "altered"), (lambda body: body + b"?", "altered")],
)
async def test_altered_bytes_are_refused(store, objects, published, tmp_path, damage, says):
    """A blob that is shorter, longer or other than the event says is named, and no folder appears."""
    key = blob_key(file_named(published, WEIGHTS).sha256)
    objects.objects[key] = damage(objects.objects[key])
    with pytest.raises(DamagedCheckpoint, match=f"{key}.*{says}"):
        await store.fetch(published, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["trained"]


async def test_missing_objects_are_named(store, objects, published, tmp_path):
    """A missing blob or manifest is an error that names it."""
    key = blob_key(file_named(published, WEIGHTS).sha256)
    body = objects.objects.pop(key)
    with pytest.raises(DamagedCheckpoint, match=key):
        await store.fetch(published, tmp_path / "model")
    objects.objects[key] = body
    del objects.objects[published.manifest_key]
    with pytest.raises(DamagedCheckpoint, match=published.manifest_key):
        await store.fetch(published, tmp_path / "model")


async def test_an_event_must_agree_with_its_manifest(store, objects, published, tmp_path):
    """Other files, another place or another manifest than the event's id names are refused."""
    forged = CheckpointFile(WEIGHTS, "c" * 64, 10)
    for changed in (
        replace(published, files=(forged, *published.files[:1])),
        replace(published, base_sha256="c" * 64),
        replace(published, kind=CheckpointKind.FULL),
        replace(published, manifest_key="refs/math/main.json"),
        replace(published, manifest_key="checkpoints/signals/../../refs/x.json"),
    ):
        with pytest.raises(DamagedCheckpoint):
            await store.fetch(changed, tmp_path / "model")
    objects.objects[published.manifest_key] += b" "
    with pytest.raises(DamagedCheckpoint, match="altered or cut off"):
        await store.fetch(published, tmp_path / "model")


async def test_manifests_from_the_future_or_of_nothing_are_refused(store, objects, published, tmp_path):
    """A manifest of a newer format asks for an update; one without the known fields is none."""
    with pytest.raises(DamagedCheckpoint, match="update headrace"):
        await store.fetch(replaced(objects, published, format=FORMAT + 1), tmp_path / "model")
    with pytest.raises(DamagedCheckpoint, match="no manifest"):
        await store.fetch(replaced(objects, published, data=[]), tmp_path / "model")


@pytest.mark.parametrize(
    "name", ["../escape.json", "a/b.json", "/etc/x.json", ".hidden.json", "model.bin", "model.pt", "run.py", ""]
)
async def test_names_that_are_paths_or_code_are_refused(store, objects, published, tmp_path, name):
    """Only plain names with the suffixes of weights and configuration are fetched."""
    file = {"name": name, "sha256": "c" * 64, "size_bytes": 3}
    files = [*json.loads(objects.objects[published.manifest_key])["files"], file]
    objects.objects[blob_key("c" * 64)] = b"abc"
    with pytest.raises(UnsafeCheckpoint):
        await store.fetch(replaced(objects, published, files=files), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["trained"]


def bent_header(**entry) -> bytes:
    described = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | entry
    text = json.dumps({"a": described}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


NO_SAFETENSORS = {
    "a pickle": pickle.dumps({"weights": list(range(1000))}),
    "a pickle behind a length": (60).to_bytes(8, "little") + pickle.dumps(list(range(100))),
    "empty": b"",
    "too short": b"\x08\x00",
    "no tensor": (2).to_bytes(8, "little") + b"{}",
    "header beyond the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "not JSON": (3).to_bytes(8, "little") + b"{x}",
    "nested without end": (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
    "twice": (60).to_bytes(8, "little") + b'{"a":{},"a":{}}'.ljust(60),
    "beyond the end": bent_header(data_offsets=[0, 16], shape=[4]),
    "hole at the beginning": bent_header(data_offsets=[4, 8], shape=[1]),
    "rest at the end": bent_header(data_offsets=[0, 4], shape=[1]),
    "backwards": bent_header(data_offsets=[8, 0]),
    "shape": bent_header(shape=[3]),
    "negative": bent_header(shape=[-1, -2]),
    "no number": bent_header(shape=["2"]),
    "enormous": bent_header(shape=[1 << 70] * 10),
    "dtype": bent_header(dtype="PICKLE"),
    "list": (2).to_bytes(8, "little") + b"[]",
}


@pytest.mark.parametrize("body", NO_SAFETENSORS.values(), ids=NO_SAFETENSORS.keys())
async def test_disguises_are_refused_on_both_ways(store, objects, published, tmp_path, body):
    """What is called .safetensors and is none is neither published nor fetched, though its hash is right."""
    (tmp_path / "trained" / WEIGHTS).write_bytes(body)
    with pytest.raises(UnsafeCheckpoint, match=f"{WEIGHTS} is no safetensors file"):
        await store.publish(tmp_path / "trained", details())
    files = json.loads(objects.objects[published.manifest_key])["files"]
    sha256 = checkpoint_id_of(body)
    files = [file | {"sha256": sha256, "size_bytes": len(body)} if file["name"] == WEIGHTS else file for file in files]
    objects.objects[blob_key(sha256)] = body
    objects._modified[blob_key(sha256)] = 1.0
    with pytest.raises(UnsafeCheckpoint, match=f"{WEIGHTS} is no safetensors file"):
        await store.fetch(replaced(objects, published, files=files), tmp_path / "model")
    assert not (tmp_path / "model").exists()


async def test_limits_name_their_settings(objects, published, tmp_path):
    """Too many bytes, files or header bytes: the error says which setting to raise, before anything is fetched."""
    for limits, setting in (
        (CheckpointLimits(bytes_max=10), "HEADRACE_CHECKPOINTS_BYTES_MAX"),
        (CheckpointLimits(files_max=1), "HEADRACE_CHECKPOINTS_FILES_MAX"),
        (CheckpointLimits(header_bytes_max=10), "HEADRACE_CHECKPOINTS_HEADER_BYTES_MAX"),
    ):
        store = CheckpointStore(objects, limits)
        with pytest.raises(UnsafeCheckpoint, match=setting):
            await store.fetch(published, tmp_path / "model")
        with pytest.raises(UnsafeCheckpoint, match=setting):
            await store.publish(tmp_path / "trained", details())


async def test_what_a_kind_needs_must_be_there(store, tmp_path):
    """An adapter without its configuration, a full model without weights: refused before anything is stored."""
    folder = adapter_folder(tmp_path / "trained")
    with pytest.raises(UnsafeCheckpoint, match=r"no config\.json"):
        await store.publish(folder, details(kind=CheckpointKind.FULL))
    (folder / WEIGHTS).unlink()
    with pytest.raises(UnsafeCheckpoint, match=WEIGHTS):
        await store.publish(folder, details())


async def test_details_that_cannot_be_written_are_refused(store, tmp_path):
    """Names that are paths, hashes that are none, and metrics that are no numbers are the trainer's mistakes."""
    folder = adapter_folder(tmp_path / "trained")
    for wrong in ({"model": "../x"}, {"base_sha256": "main"}, {"metrics": {"loss": float("nan")}}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            await store.publish(folder, details(**wrong))


async def test_a_file_that_changes_meanwhile_is_not_published(store, objects, tmp_path):
    """A folder that someone still writes to does not become a checkpoint, and leaves no object under a wrong hash."""
    folder = adapter_folder(tmp_path / "trained")

    def write(_):
        (folder / WEIGHTS).write_bytes(safetensors_bytes({"a": [4, 2], "b": [2, 4]}, 7))

    objects.before_write = write
    with pytest.raises(UnsafeCheckpoint, match="changed while it was published"):
        await store.publish(folder, details())
    assert not [key for key in objects.objects if key.endswith(".json")]


async def test_racing_publishers_agree(store, tmp_path):
    """Two at once announce the same checkpoint."""
    folder = adapter_folder(tmp_path / "trained")
    first, second = await asyncio.gather(store.publish(folder, details()), store.publish(folder, details()))
    assert first == second


async def test_a_trainer_s_own_text_file_is_no_list_of_samples(store, tmp_path):
    """`samples.txt` is anybody's; the name that is kept for the list is held to its form, line by line."""
    folder = adapter_folder(tmp_path / "trained")
    (folder / "samples.txt").write_text("my favourite samples\n")
    await store.publish(folder, details())
    for text in ("my favourite samples\n", '["a", 0]\n["b"]\n', '["a", -1]\n', '["a", true]\n', "\xff", "[" * 70_000):
        (folder / SEEN_FILE).write_bytes(text.encode("latin-1"))
        with pytest.raises(UnsafeCheckpoint, match=SEEN_FILE):
            await store.publish(folder, details())
    (folder / SEEN_FILE).write_text('["a", 0]\n["\\ud800", 3]\n')
    published = await store.publish(folder, details())
    await store.download(published, SEEN_FILE, tmp_path / "list")
    assert list(seen_in(tmp_path / "list")) == [("a", 0), ("\ud800", 3)]


def test_details_that_say_nothing_leave_the_id_as_it_was():
    """A checkpoint of an earlier release that is published again is the same one."""
    data = json.loads(manifest_bytes(details(), []))["data"]
    assert set(data) == {
        "dataset_id", "version", "positions", "held_out_share", "held_out_seed", "rows_trained", "rows_held_out",
    }  # fmt: skip
    assert data["positions"] == [{"partition": 0, "from_offset": 3, "until_offset": 9}]
