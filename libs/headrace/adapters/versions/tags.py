"""Tags in the object store: created once, never moved, deleted at will."""

from collections.abc import AsyncIterator

from headrace.adapters.versions.sweeps import SweepWatch
from headrace.core.events import Stop
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.version_names import TAG_BYTES_MAX, Tag, tag_bytes, tag_from, tag_key, tag_of, tag_prefix
from headrace.core.versions import DamagedVersion, Version


class TagTaken(Exception):
    """The tag names another version already."""


async def create_tag(objects: ObjectStore, name: str, version: Version) -> Tag:
    """Name a version for good; naming it so again changes nothing.

    Raises:
        ValueError: the name cannot be a tag.
        TagTaken: the tag names another version.
        Stop: the store is gone.
    """
    tag = tag_of(name, version)
    key = tag_key(tag.dataset, name)
    watch = await SweepWatch.begun(objects)
    if await objects.put_if_absent(key, tag_bytes(tag)):
        try:
            await watch.require_none()  # it may have looked for tags already, and prune the version
        except Stop:
            await objects.delete(key)
            raise
    else:
        taken = await read_tag(objects, tag.dataset, name)
        if taken is None or taken.version != version.id:
            where = f"version {taken.sequence}, id {taken.version[:12]}" if taken else "another version"
            raise TagTaken(f"tag {name} names {where} and never moves: delete it first (--delete)")
    return tag


async def delete_tag(objects: ObjectStore, dataset_id: str, name: str) -> bool:
    """Take a tag away; False where there was none. Raises ValueError where the name cannot be a tag, and Stop."""
    key = tag_key(dataset_id, name)
    if await objects.stat(key) is None:
        return False
    await objects.delete(key)
    return True


async def read_tag(objects: ObjectStore, dataset_id: str, name: str) -> Tag | None:
    """The tag of that name; None where there is none. Raises ValueError, DamagedVersion or Stop."""
    return await _tag_at(objects, tag_key(dataset_id, name))


async def tags(objects: ObjectStore, dataset_id: str) -> AsyncIterator[Tag]:
    """A dataset's tags in the order of their names. Raises DamagedVersion or Stop."""
    async for entry in objects.list(tag_prefix(dataset_id)):
        if tag := await _tag_at(objects, entry.key):  # one that was deleted meanwhile is none
            yield tag


async def _tag_at(objects: ObjectStore, key: str) -> Tag | None:
    try:
        stored = await objects.get(key, bytes_max=TAG_BYTES_MAX)
    except ObjectMissing:
        return None
    except ObjectTooLarge as error:
        raise DamagedVersion(str(error)) from error
    return tag_from(stored.body, key)
