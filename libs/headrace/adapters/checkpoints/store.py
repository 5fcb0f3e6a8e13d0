"""Checkpoints in the object store: files by their hash, then one create-only manifest that makes them a checkpoint.

Until the manifest is there, nobody sees anything; once it is, everything it names is there. What is fetched is held against
its hashes and the list of files that are safe to load, and appears under its folder whole or not at all.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.adapters.checkpoints.safetensors_header import require_safetensors
from headrace.adapters.checkpoints.seen_file import seen_in
from headrace.core.checkpoint_manifests import (
    MANIFEST_BYTES_MAX,
    BadCheckpoint,
    CheckpointDetails,
    DamagedCheckpoint,
    UnsafeCheckpoint,
    blob_key,
    checkpoint_id_of,
    manifest_bytes,
    manifest_from,
    manifest_key,
    published_of,
    require_agreement,
)
from headrace.core.checkpoint_retention import WEIGHTS_SUFFIX, collected_key
from headrace.core.checkpoints import SEEN_FILE, CheckpointFile, CheckpointKind, CheckpointPublished
from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge, StoredObject

__all__ = ["BadCheckpoint", "CheckpointDetails", "CheckpointLimits", "CheckpointStore", "DamagedCheckpoint", "UnsafeCheckpoint"]

_SUFFIXES = (WEIGHTS_SUFFIX, ".json", ".txt", ".jinja")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1024 * 1024
_NEEDED = {
    CheckpointKind.FULL: ("config.json",),
    CheckpointKind.ADAPTER: ("adapter_config.json", "adapter_model.safetensors"),
}


class CollectedCheckpoint(DamagedCheckpoint):
    """The checkpoint's weights were collected on purpose; the message says what to do."""


class CheckpointLimits(BaseSettings):
    """Bounds on the checkpoints that are published and fetched."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_CHECKPOINTS_", frozen=True, extra="ignore", title="CheckpointsSettings"
    )

    bytes_max: int = Field(16 * 1024**3, ge=1, description="Largest checkpoint, all files together, bytes.")
    files_max: int = Field(256, ge=1, description="Most files in a checkpoint.")
    header_bytes_max: int = Field(16 * 1024**2, ge=1, description="Longest header of a safetensors file, bytes.")


class CheckpointStore:
    """Checkpoints in an object store. Every method raises Stop when the store is gone."""

    def __init__(self, objects: ObjectStore, limits: CheckpointLimits | None = None) -> None:
        self._objects = objects
        self._limits = limits or CheckpointLimits()

    async def publish(self, folder: Path, details: CheckpointDetails) -> CheckpointPublished:
        """Stores the folder's files and then the manifest; returns the event that announces them.

        Files that a model server has no use for (optimizer states, subfolders, notes: everything but .safetensors, .json,
        .txt and .jinja) are left out. Publishing the same again changes nothing and returns the same event:
        `published_at` is the time at which the manifest was first written, by the store's clock.

        Raises:
            UnsafeCheckpoint: weights are missing or no safetensors, the files are too many or too large, or the list of what was
                seen (`SEEN_FILE`) is none.
            ValueError: the model's name is no plain name, or a detail cannot be written.
        """
        if not _MODEL.fullmatch(details.model):
            raise ValueError(f"model {details.model[:80]!r} is no plain name")
        if not _SHA256.fullmatch(details.base_sha256):
            raise ValueError(f"base_sha256 {details.base_sha256[:80]!r} is no SHA-256 in lower-case hex")
        paths = await asyncio.to_thread(_publishable, folder)
        files = [await asyncio.to_thread(_file_of, path) for path in paths]
        self._require_safe(files, details.kind)
        for path in paths:
            await asyncio.to_thread(self._require_true_name, path)
        manifest = manifest_bytes(details, files)
        key = manifest_key(details.model, checkpoint_id_of(manifest))
        if len(manifest) > MANIFEST_BYTES_MAX:
            raise ValueError(f"{key}: a manifest of {len(manifest)} bytes, at most {MANIFEST_BYTES_MAX} are written")
        for path, file in zip(paths, files, strict=True):
            await self._upload(path, file)
        await self._objects.put_if_absent(key, manifest)
        await self._objects.delete(collected_key(details.model, checkpoint_id_of(manifest)))  # its weights are there again
        entry = await self._objects.stat(key)
        if entry is None:
            raise Stop(f"object store: {key} was written and is gone")
        return published_of(manifest, entry.modified)

    async def fetch(self, published: CheckpointPublished, into: Path) -> None:
        """Writes the checkpoint's files to the folder `into`, which appears whole or not at all.

        At once where a folder is there already that holds exactly these files; any other one is replaced.

        Raises:
            CollectedCheckpoint: its weights were collected.
            DamagedCheckpoint: the manifest or a file is missing or not what the event says.
            UnsafeCheckpoint: a file is of a kind that is not loaded, disguised, or they are too large together.
        """
        await self._require_manifest(published)
        self._require_safe(published.files, published.kind)
        if await asyncio.to_thread(_holds, into, published.files):
            return
        into.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
        try:
            for file in published.files:
                await self._download(published, file, unfinished / file.name)
                await asyncio.to_thread(self._require_true_name, unfinished / file.name)
            await asyncio.to_thread(_replace, unfinished, into)
        finally:
            await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)

    async def find(self, model: str, checkpoint_id: str) -> CheckpointPublished:
        """The event that announces a checkpoint, made anew from its manifest.

        Raises:
            DamagedCheckpoint: the manifest is missing or altered.
        """
        key = manifest_key(model, checkpoint_id)
        stored = await self._manifest_at(key)
        manifest_from(stored.body, key, checkpoint_id)
        return published_of(stored.body, stored.modified)

    async def download(self, published: CheckpointPublished, name: str, path: Path) -> None:
        """Writes one file of a checkpoint to `path`, verified.

        Raises:
            KeyError: the checkpoint has no such file.
            DamagedCheckpoint: it is missing or altered.
        """
        await self._download(published, {file.name: file for file in published.files}[name], path)

    async def _manifest_at(self, key: str) -> StoredObject:
        try:
            return await self._objects.get(key, bytes_max=MANIFEST_BYTES_MAX)
        except ObjectMissing as error:
            raise DamagedCheckpoint(f"{key}: no such object") from error
        except ObjectTooLarge as error:
            raise DamagedCheckpoint(str(error)) from error

    async def _require_manifest(self, published: CheckpointPublished) -> None:
        # The key follows from model and id, so an event can name no other object.
        key = manifest_key(published.model, published.checkpoint_id)
        if published.manifest_key != key:
            raise DamagedCheckpoint(f"{published.manifest_key[:200]}: the manifest of this checkpoint lies at {key}")
        stored = await self._manifest_at(key)
        require_agreement(manifest_from(stored.body, key, published.checkpoint_id), published)

    async def _upload(self, path: Path, file: CheckpointFile) -> None:
        # Also where it is there: written again it is young, so that no collection takes it before the manifest names it.
        key = blob_key(file.sha256)
        await self._objects.put_file(key, path)
        if await asyncio.to_thread(_file_of, path) != file:
            await self._objects.delete(key)
            raise UnsafeCheckpoint(f"{path.name} changed while it was published: publish a folder that nobody writes to")

    async def _download(self, published: CheckpointPublished, file: CheckpointFile, path: Path) -> None:
        key = blob_key(file.sha256)
        try:
            await self._objects.fetch(key, path, bytes_max=file.size_bytes)
        except ObjectMissing as error:
            if await self._objects.stat(collected_key(published.model, published.checkpoint_id)):
                raise CollectedCheckpoint(
                    f"{key} ({file.name}): the weights of checkpoint {published.checkpoint_id[:12]} were collected "
                    "(`headrace dataset gc --keep-checkpoints`): train it again, or publish the same weights again"
                ) from error
            raise DamagedCheckpoint(f"{key} ({file.name}): no such object, though the manifest names it") from error
        except ObjectTooLarge as error:
            raise DamagedCheckpoint(f"{error}: altered") from error
        found = await asyncio.to_thread(_file_of, path)
        if found.size_bytes != file.size_bytes:
            raise DamagedCheckpoint(f"{key} ({file.name}): {found.size_bytes} of {file.size_bytes} bytes: cut off")
        if found.sha256 != file.sha256:
            raise DamagedCheckpoint(f"{key} ({file.name}): the bytes have the hash {found.sha256[:12]}: altered")

    def _require_safe(self, files: Iterable[CheckpointFile], kind: CheckpointKind) -> None:
        named = {file.name: file for file in files}
        for name in named:
            if not _NAME.fullmatch(name):
                raise UnsafeCheckpoint(f"{name[:80]!r} is no plain file name")
            if not name.endswith(_SUFFIXES):
                raise UnsafeCheckpoint(f"{name}: only {', '.join(_SUFFIXES)} are loaded")
        total = sum(file.size_bytes for file in named.values())
        if total > self._limits.bytes_max:
            raise UnsafeCheckpoint(f"{total} bytes are above HEADRACE_CHECKPOINTS_BYTES_MAX ({self._limits.bytes_max})")
        if len(named) > self._limits.files_max:
            raise UnsafeCheckpoint(f"{len(named)} files are more than HEADRACE_CHECKPOINTS_FILES_MAX ({self._limits.files_max})")
        missing = [name for name in _NEEDED[kind] if name not in named]
        if missing or not any(name.endswith(WEIGHTS_SUFFIX) for name in named):
            raise UnsafeCheckpoint(f"the checkpoint has no {', '.join(missing) or 'weights in safetensors'}")

    def _require_true_name(self, path: Path) -> None:
        if path.name.endswith(WEIGHTS_SUFFIX):
            require_safetensors(path, header_bytes_max=self._limits.header_bytes_max)
        elif path.name == SEEN_FILE:
            for _ in seen_in(path):
                pass


def _publishable(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(_SUFFIXES))


def _file_of(path: Path) -> CheckpointFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return CheckpointFile(path.name, digest.hexdigest(), size)


def _holds(folder: Path, files: Iterable[CheckpointFile]) -> bool:
    """Whether the folder holds exactly these files."""
    if not folder.is_dir():
        return False
    wanted = {file.name: file for file in files}
    return {path.name for path in folder.iterdir()} == set(wanted) and all(
        _file_of(folder / name) == file for name, file in wanted.items()
    )


def _replace(unfinished: Path, folder: Path) -> None:
    unfinished.chmod(0o755)  # the server that loads it may run under another name
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)  # noqa: PTH105 - at once
