"""What every object store must do: one suite, on the fake, on SeaweedFS, and on MinIO where its binary is found."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from uuid import uuid4

import pytest
from aiohttp import web

from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge, UnsuitableStore
from tests.fakes.object_store import FakeObjectStore


@pytest.fixture
async def store(store_settings) -> AsyncIterator[ObjectStore]:
    if store_settings is None:
        yield FakeObjectStore()
    else:
        async with open_object_store(store_settings) as opened:
            yield opened


@pytest.fixture
def prefix() -> str:
    return f"{uuid4().hex}/"


async def test_what_is_put_is_read_back(store, prefix):
    """An object's bytes come back whole, and replacing them replaces them."""
    await store.put(prefix + "a", b"one")
    await store.put(prefix + "a", b"two")
    assert (await store.get(prefix + "a", bytes_max=3)).body == b"two"


async def test_an_empty_object_is_an_object(store, prefix):
    """Nothing at all can be stored and read."""
    await store.put(prefix + "a", b"")
    assert (await store.get(prefix + "a", bytes_max=0)).body == b""


async def test_a_missing_object_is_named(store, prefix):
    """Reading what is not there says what is not there."""
    with pytest.raises(ObjectMissing, match=prefix):
        await store.get(prefix + "a", bytes_max=1)
    with pytest.raises(ObjectMissing, match=prefix):
        await asyncio.to_thread(store.open, prefix + "a")
    assert await store.stat(prefix + "a") is None


async def test_a_large_object_is_not_read(store, prefix, tmp_path):
    """More bytes than the caller takes are refused, in memory and on disk."""
    await store.put(prefix + "a", b"12345")
    with pytest.raises(ObjectTooLarge, match="5 bytes"):
        await store.get(prefix + "a", bytes_max=4)
    with pytest.raises(ObjectTooLarge, match="5 bytes"):
        await store.fetch(prefix + "a", tmp_path / "a", bytes_max=4)


async def test_files_go_up_and_down_whole(store, prefix, tmp_path):
    """A file of several parts arrives as it left."""
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(bytes(range(256)) * 70_000)
    await store.put_file(prefix + "a", sent)
    await store.fetch(prefix + "a", received, bytes_max=20_000_000)
    assert received.read_bytes() == sent.read_bytes()
    assert (await store.stat(prefix + "a")).size_bytes == 256 * 70_000


async def test_a_range_is_read(store, prefix):
    """An opened object seeks and reads like a file."""
    await store.put(prefix + "a", bytes(range(100)))
    file = await asyncio.to_thread(store.open, prefix + "a")

    def parts() -> tuple[bytes, int, bytes, bytes]:
        file.seek(-10, 2)
        tail = file.read(4)
        told = file.tell()
        file.seek(5)
        return tail, told, file.read(2), file.read()

    assert await asyncio.to_thread(parts) == (bytes(range(90, 94)), 94, bytes([5, 6]), bytes(range(7, 100)))


async def test_one_of_many_creators_wins(store, prefix):
    """Of racing creators of one key exactly one is told that it created."""
    results = await asyncio.gather(*(store.put_if_absent(prefix + "a", str(n).encode()) for n in range(16)))
    assert sum(results) == 1
    assert (await store.get(prefix + "a", bytes_max=2)).body == str(results.index(True)).encode()


async def test_one_of_many_updaters_wins(store, prefix):
    """Of racing compare-and-swaps of one object exactly one is told that it swapped."""
    await store.put_if_absent(prefix + "a", b"old")
    etag = (await store.get(prefix + "a", bytes_max=3)).etag
    results = await asyncio.gather(*(store.replace_if_match(prefix + "a", str(n).encode(), etag) for n in range(8)))
    assert sum(results) == 1
    assert (await store.get(prefix + "a", bytes_max=3)).body == str(results.index(True)).encode()


async def test_nothing_is_swapped_where_nothing_is(store, prefix):
    """A compare-and-swap of an object that is gone fails; it creates nothing."""
    assert not await store.replace_if_match(prefix + "a", b"new", "0" * 32)
    assert await store.stat(prefix + "a") is None


async def test_listing_is_in_key_order_and_starts_after_a_key(store, prefix):
    """A listing holds exactly the keys under the prefix that sort after the start, in byte order, across folders."""
    keys = [prefix + name for name in ("a/00001/1", "a/00001/2", "a/00002/1", "b/00001/1", "c/1", "a/00001/10")]
    for key in keys:
        await store.put(key, b"x")
    await store.put(prefix[:-1] + "-other/1", b"x")
    assert [entry.key async for entry in store.list(prefix)] == sorted(keys)
    for start in (*keys, prefix + "a/00001/", prefix + "a/00001/1~", prefix + "a/00001/~", prefix + "a/~", prefix + "~"):
        listed = [entry.key async for entry in store.list(prefix, start_after=start)]
        assert listed == [key for key in sorted(keys) if key > start], start


async def test_listing_goes_on_behind_the_first_page(store, prefix):
    """More keys than one answer of the server holds are all listed, with their sizes."""
    names = [f"{prefix}{n:05}" for n in range(1_100)]
    for start in range(0, 1_100, 100):
        await asyncio.gather(*(store.put(name, b"xy") for name in names[start : start + 100]))
    assert [(entry.key, entry.size_bytes) async for entry in store.list(prefix)] == [(name, 2) for name in names]
    assert [entry.key async for entry in store.list(prefix, start_after=names[1_050])] == names[1_051:]


async def test_what_is_deleted_is_gone(store, prefix):
    """A deleted object is missing at once; deleting it again does nothing."""
    await store.put(prefix + "a", b"x")
    await store.delete(prefix + "a")
    await store.delete(prefix + "a")
    assert await store.stat(prefix + "a") is None
    assert [entry async for entry in store.list(prefix)] == []
    assert await store.put_if_absent(prefix + "a", b"y")


async def test_the_store_proves_its_conditional_writes(store):
    """The probe passes and leaves nothing behind."""
    await store.ping()
    await store.require_conditional_writes()
    assert [entry async for entry in store.list("probes/")] == []


@pytest.mark.connected
async def test_a_store_that_is_gone_stops_its_callers():
    """A server that does not answer is Stop, which keeps the caller's place, and nothing else."""
    settings = ObjectStoreSettings(endpoint="127.0.0.1:1", attempts_max=1, timeout_s=2)
    with pytest.raises(Stop, match="object store"):
        async with open_object_store(settings):
            pass


class CarelessServer:
    """An S3 server, as far as the probe goes, that ignores the conditions of a PUT as old ones do."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def answer(self, request: web.Request) -> web.Response:
        key = request.path
        if request.method == "PUT":
            self.objects[key] = await request.read()
        elif request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        body = self.objects.get(key, b"")
        headers = {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"', "Last-Modified": formatdate(usegmt=True)}
        return web.Response(body=b"" if request.method == "PUT" else body, headers=headers)


@asynccontextmanager
async def serving(server: CarelessServer, port: int = 0) -> AsyncIterator[ObjectStoreSettings]:
    """The server on a port of this machine, and the settings that name it."""
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, bound = runner.addresses[0]
        yield ObjectStoreSettings(endpoint=f"{host}:{bound}", attempts_max=1)
    finally:
        await runner.cleanup()


@pytest.mark.connected
async def test_a_store_without_conditional_writes_is_refused():
    """Headrace does not run on a store that would lose versions: the error names it, and the setting to change."""
    server = CarelessServer()
    async with serving(server) as careless, open_object_store(careless) as opened:
        with pytest.raises(UnsuitableStore, match=rf"{careless.endpoint}.*HEADRACE_S3_ENDPOINT"):
            await opened.require_conditional_writes()
    assert not [key for key in server.objects if "probes" in key]


@pytest.mark.connected
async def test_a_service_waits_for_a_store_that_starts_after_it():
    """A patient caller gets the store once it is there; the others are told at once that it is not."""
    async with serving(CarelessServer()) as settings:
        pass
    with pytest.raises(Stop):
        async with open_object_store(settings):
            pass
    waiting = asyncio.create_task(_first_word(settings))
    await asyncio.sleep(0.1)
    async with serving(CarelessServer(), int(settings.endpoint.rpartition(":")[2])):
        assert await waiting


async def _first_word(settings: ObjectStoreSettings) -> bool:
    async with open_object_store(settings, patient=True):
        return True
