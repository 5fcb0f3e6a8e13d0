"""An S3 bucket as the object store, through the `minio` client; conditional writes by presigned PUT.

The client has no parameter for If-Match and If-None-Match, and a presigned URL accepts headers that were not signed. Its
calls block, so they run in threads.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, TypeVar, cast
from uuid import uuid4

import aiohttp
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectEntry, ObjectMissing, ObjectTooLarge, StoredObject, UnsuitableStore

Result = TypeVar("Result")

PAGE = 1_000
"""Entries fetched at a time by a listing: what S3 servers return at most."""

PART_BYTES = 16 * 1024 * 1024
_MISSING = {"NoSuchKey", "NoSuchObject", "ResourceNotFound", "NoSuchVersion"}
_CONFLICTS_MAX = 20
"""AWS answers 409 while another conditional write of the same key is in progress; it says to try again."""

_SCRATCH = "probes/"
_BLOCK_BYTES = 1024 * 1024
_ERROR_BYTES_MAX = 500
_MAYBE_FULL = "its disk may be full (SeaweedFS refuses writes where less than 1% of it is free): its log tells"
_AGAIN_S = 1.0


class ObjectStoreSettings(BaseSettings):
    """Which S3 server and bucket hold dataset versions."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_S3_", frozen=True, extra="ignore", title="S3Settings")

    endpoint: str = Field("", description="Host and port of the S3 server; empty: there is none.")
    access_key: str = Field("", description="Access key; empty with an empty secret key signs nothing.")
    secret_key: SecretStr = Field(SecretStr(""), description="Secret key.")
    bucket: str = Field("headrace", min_length=3, max_length=63, description="Bucket; created where it is missing.")
    region: str = Field("us-east-1", description="Region that requests are signed for.")
    secure: bool = Field(False, description="Speak HTTPS.")
    start_s: float = Field(30.0, ge=0, description="Longest wait for the store when a service starts.")
    timeout_s: float = Field(30.0, gt=0, description="Longest wait for one request.")
    attempts_max: int = Field(3, ge=1, description="Attempts at one request before the store counts as gone.")
    connections_max: int = Field(16, ge=1, description="Connections kept open to the store.")


@asynccontextmanager
async def open_object_store(settings: ObjectStoreSettings, *, patient: bool = False) -> AsyncIterator["MinioObjectStore"]:
    """The store, its bucket created where it is missing. A service is `patient`: the store may start after it.

    Raises:
        Stop: the store cannot be reached or refuses; of a patient caller it was asked for `HEADRACE_S3_START_S`.
    """
    # Redirects and 5xx are retried by the pool; what is left after that counts as gone.
    retries = urllib3.Retry(settings.attempts_max - 1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
    pool = urllib3.PoolManager(timeout=settings.timeout_s, maxsize=settings.connections_max, retries=retries)
    client = _client(settings, pool)
    timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            store = MinioObjectStore(client, session, settings)
            await _created(store, settings.start_s if patient else 0)
            yield store
    finally:
        pool.clear()


async def _created(store: "MinioObjectStore", patience_s: float) -> None:
    clock = asyncio.get_running_loop().time
    until = clock() + patience_s
    while True:
        try:
            return await store.create_bucket()
        except Stop:
            if clock() + _AGAIN_S > until:
                raise
        await asyncio.sleep(_AGAIN_S)


def _client(settings: ObjectStoreSettings, pool: urllib3.PoolManager) -> Minio:
    if not settings.endpoint:
        raise Stop(
            "no object store is named: start a stack with `headrace up`, or set HEADRACE_S3_ENDPOINT to host:port of an S3 server"
        )
    try:
        return Minio(
            settings.endpoint,
            access_key=settings.access_key or None,
            secret_key=settings.secret_key.get_secret_value() or None,
            region=settings.region,
            secure=settings.secure,
            http_client=pool,
        )
    except ValueError as error:
        raise Stop(f"HEADRACE_S3_ENDPOINT is host:port, not {settings.endpoint!r}: {error}") from error


class MinioObjectStore:
    """`ObjectStore` on one bucket; see the port for what each method means."""

    def __init__(self, client: Minio, session: aiohttp.ClientSession, settings: ObjectStoreSettings) -> None:
        self._client = client
        self._session = session
        self._endpoint = settings.endpoint
        self._bucket = settings.bucket

    async def create_bucket(self) -> None:
        """Raises Stop where the bucket neither exists nor can be created."""
        if await self._call("find bucket", self._bucket, partial(self._client.bucket_exists, self._bucket)):
            return
        try:
            await self._call("create bucket", self._bucket, partial(self._client.make_bucket, self._bucket))
        except Stop:  # another service created it in between
            if not await self._call("find bucket", self._bucket, partial(self._client.bucket_exists, self._bucket)):
                raise

    async def get(self, key: str, *, bytes_max: int) -> StoredObject:
        return await self._call("get", key, partial(self._read, key, bytes_max))

    async def fetch(self, key: str, path: Path, *, bytes_max: int) -> None:
        unwanted = Event()
        try:
            await self._call("get", key, partial(self._download, key, path, bytes_max, unwanted))
        finally:
            unwanted.set()

    def open(self, key: str) -> BinaryIO:
        entry = _blocking("stat", key, partial(self._entry, key))
        if entry is None:
            raise ObjectMissing(key)
        return cast("BinaryIO", _RangedObject(self._client, self._bucket, entry))

    async def put(self, key: str, body: bytes) -> None:
        await self._call("put", key, partial(self._client.put_object, self._bucket, key, io.BytesIO(body), len(body)))

    async def put_file(self, key: str, path: Path) -> None:
        await self._call("put", key, partial(self._client.fput_object, self._bucket, key, str(path), part_size=PART_BYTES))

    async def put_if_absent(self, key: str, body: bytes) -> bool:
        return await self._conditional_put(key, body, {"If-None-Match": "*"})

    async def replace_if_match(self, key: str, body: bytes, etag: str) -> bool:
        return await self._conditional_put(key, body, {"If-Match": f'"{etag}"'})

    async def stat(self, key: str) -> ObjectEntry | None:
        return await self._call("stat", key, partial(self._entry, key))

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectEntry]:
        # Many servers take start-after for a key, not for a prefix of keys, so a key outside the prefix is not sent.
        start = start_after if start_after.startswith(prefix) and start_after != prefix else None
        pages = self._client.list_objects(self._bucket, prefix=prefix, recursive=True, start_after=start)
        while page := await self._call("list", prefix, lambda: list(islice(pages, PAGE))):
            for item in page:
                if item.object_name > start_after:
                    yield ObjectEntry(item.object_name, item.size or 0, _seconds(item.last_modified))

    async def delete(self, key: str) -> None:
        await self._call("delete", key, partial(self._client.remove_object, self._bucket, key))

    async def ping(self) -> None:
        if not await self._call("find bucket", self._bucket, partial(self._client.bucket_exists, self._bucket)):
            raise Stop(f"object store: bucket {self._bucket} does not exist")

    async def require_conditional_writes(self) -> None:
        key = f"{_SCRATCH}{uuid4().hex}"
        try:
            created = await self.put_if_absent(key, b"first")
            created_twice = await self.put_if_absent(key, b"second")
            etag = (await self.get(key, bytes_max=16)).etag
            replaced = await self.replace_if_match(key, b"third", etag)
            replaced_stale = await self.replace_if_match(key, b"fourth", etag)
            kept = (await self.get(key, bytes_max=16)).body
        finally:
            await self.delete(key)
        if (created, created_twice, replaced, replaced_stale, kept) != (True, False, True, False, b"third"):
            raise UnsuitableStore(
                f"the object store at {self._endpoint} does not honour conditional writes "
                "(If-None-Match and If-Match on PUT), without which concurrent versions would overwrite each other: "
                "use another server (HEADRACE_S3_ENDPOINT)"
            )

    async def _conditional_put(self, key: str, body: bytes, condition: dict[str, str]) -> bool:
        sign = partial(self._client.get_presigned_url, "PUT", self._bucket, key, expires=timedelta(minutes=10))
        for _ in range(_CONFLICTS_MAX):
            url = URL(await self._call("sign", key, sign), encoded=True)
            try:
                async with self._session.put(url, data=body, headers=condition) as response:
                    if response.status != HTTPStatus.CONFLICT:
                        return await _written(response, key)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Stop(f"object store: put {key}: {error or type(error).__name__}") from error
            await asyncio.sleep(0.05)
        raise Stop(f"object store: put {key}: another conditional write was in progress {_CONFLICTS_MAX} times in a row")

    async def _call(self, verb: str, key: str, call: Callable[[], Result]) -> Result:
        return await asyncio.to_thread(_blocking, verb, key, call)

    def _entry(self, key: str) -> ObjectEntry | None:
        try:
            stat = self._client.stat_object(self._bucket, key)
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise
        return ObjectEntry(key, stat.size or 0, _seconds(stat.last_modified))

    def _read(self, key: str, bytes_max: int) -> StoredObject:
        with _opened(self._client, self._bucket, key, bytes_max) as response:
            modified = parsedate_to_datetime(response.headers["last-modified"]).timestamp()
            return StoredObject(response.read(), response.headers["etag"].strip('"'), modified)

    def _download(self, key: str, path: Path, bytes_max: int, unwanted: Event) -> None:
        with _opened(self._client, self._bucket, key, bytes_max) as response, path.open("wb") as file:
            for block in response.stream(_BLOCK_BYTES):
                if unwanted.is_set():  # whoever waited for it was cancelled, which ends no thread
                    return
                file.write(block)


@contextmanager
def _opened(client: Minio, bucket: str, key: str, bytes_max: int) -> Iterator[urllib3.BaseHTTPResponse]:
    """A response whose body is at most so long; its connection goes back to the pool."""
    response = client.get_object(bucket, key)
    try:
        size = int(response.headers["content-length"])
        if size > bytes_max:
            raise ObjectTooLarge(f"{key}: {size} bytes, at most {bytes_max} are read")
        yield response
    finally:
        response.close()
        response.release_conn()


def _blocking(verb: str, key: str, call: Callable[[], Result]) -> Result:
    """The call's result; what the store did wrong becomes Stop, what is not there ObjectMissing."""
    try:
        return call()
    except S3Error as error:
        if error.code in _MISSING:
            raise ObjectMissing(key) from error
        raise Stop(f"object store: {verb} {key}: {error.code}: {error.message}") from error
    except urllib3.exceptions.MaxRetryError as error:
        where = f"{error.pool.host}:{error.pool.port}" if error.pool is not None else "HEADRACE_S3_ENDPOINT"
        if isinstance(error.reason, urllib3.exceptions.ResponseError):
            raise Stop(f"object store: {verb} {key}: {where} answers {error.reason}: {_MAYBE_FULL}") from error
        cause = error.reason.__cause__ or error.reason if error.reason is not None else error
        raise Stop(f"object store: {where} does not answer: {cause}: is HEADRACE_S3_ENDPOINT right?") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Stop(f"object store: {verb} {key}: {error}") from error


async def _written(response: aiohttp.ClientResponse, key: str) -> bool:
    """Whether a conditional write was made; anything but a clear yes or no is the store's trouble."""
    if response.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        return True
    if response.status == HTTPStatus.PRECONDITION_FAILED:
        return False
    text = (await response.content.read(_ERROR_BYTES_MAX)).decode("utf-8", "replace")
    if response.status == HTTPStatus.NOT_FOUND and any(f"<Code>{code}</Code>" in text for code in _MISSING):
        return False  # nothing left that could match; any other 404 is a bucket that is gone, or somebody else's answer
    hint = f": {_MAYBE_FULL}" if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
    raise Stop(f"object store: put {key}: HTTP {response.status}: {text}{hint}")


def _seconds(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0


class _RangedObject(io.RawIOBase):
    """One object as a file; every read is one ranged request, so readers coalesce their ranges themselves."""

    def __init__(self, client: Minio, bucket: str, entry: ObjectEntry) -> None:
        super().__init__()
        self._client = client
        self._bucket = bucket
        self._entry = entry
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._entry.size_bytes - self._position)
        length = left if size < 0 else min(size, left)
        if length == 0:
            return b""
        body = _blocking("get", self._entry.key, partial(self._range, self._position, length))
        self._position += len(body)
        return body

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        body = self.read(len(buffer))
        buffer[: len(body)] = body
        return len(body)

    def _range(self, offset: int, length: int) -> bytes:
        response = self._client.get_object(self._bucket, self._entry.key, offset=offset, length=length)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()
