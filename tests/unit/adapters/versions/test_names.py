"""Naming versions: tags that never move, ways back, and beginnings of ids; a name means one version or is refused."""

import pytest

from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.tags import TagTaken, create_tag, delete_tag, read_tag, tags
from headrace.core.version_names import NoSuchVersion, listed_version, require_tag, tag_key, version_name
from headrace.core.versions import (
    Counts,
    DamagedVersion,
    Manifest,
    Reference,
    Version,
    manifest_key,
    reference_key,
    stored_bytes,
    version_of,
)
from tests.fakes.object_store import FakeObjectStore

DATASET = "maths"


def stored(objects: "World", sequence: int, parent: Version | None, mark: int = 0) -> Version:
    """A version without rows; the mark makes another one of it."""
    manifest = Manifest(
        dataset=DATASET, sequence=sequence, parent=parent.id if parent else None, schemas={}, shards={},
        counts=Counts(decided=mark), reasons={}, policies={}, models={}, inputs={},
    )  # fmt: skip
    body = stored_bytes(manifest)
    version = Version(version_of(body), manifest)
    objects.put_now(version.manifest_key, body)
    return version


class World(FakeObjectStore):
    """A chain of versions, its head referred to."""

    def put_now(self, key, body):
        self.objects[key] = body
        self._modified[key] = 1.0

    def chain(self, length: int) -> list[Version]:
        versions: list[Version] = []
        for sequence in range(1, length + 1):
            versions.append(stored(self, sequence, versions[-1] if versions else None))
        head = versions[-1]
        reference = Reference(dataset=DATASET, version=head.id, sequence=length, cut_by="x")
        self.put_now(reference_key(DATASET), stored_bytes(reference))
        return versions


async def found(world: FakeObjectStore, name: str) -> int:
    return (await VersionStore(world).version(DATASET, name)).manifest.sequence


async def test_every_way_of_naming_a_version_finds_it():
    """Numbers, ids, beginnings of ids, tags and branches, and so many versions before each of them."""
    world = World()
    versions = world.chain(5)
    await create_tag(world, "first-run", versions[1])
    for name in ("2", "main~3", "~3", versions[1].id, versions[1].id[:12], "first-run", "3~1", "main~03"):
        assert await found(world, name) == 2
    assert await found(world, "first-run~1") == 1
    assert [await found(world, name) for name in ("", "main", "5", "main~0")] == [5] * 4


@pytest.mark.parametrize(
    "name", ["6", "0", "main~5", "1~1", "nowhere", "main~", "main~x", "a b", "../x", "A", "é", "f" * 64, "f" * 65, "~9" * 50]
)
async def test_what_names_no_version_says_so(name):
    """Whatever is asked for, the answer is one version or one clear error."""
    world = World()
    world.chain(5)
    with pytest.raises(NoSuchVersion):
        await found(world, name)


async def test_what_a_lost_race_left_is_not_a_version():
    """A manifest that no version leads to is found neither by its number nor by its id."""
    world = World()
    versions = world.chain(4)
    for sequence, mark in ((2, 7), (3, 8), (4, 9), (5, 10)):
        lost = stored(world, sequence, versions[sequence - 2], mark)
        with pytest.raises(NoSuchVersion):
            await found(world, lost.id)
    for version in versions:
        read = await VersionStore(world).version(DATASET, str(version.manifest.sequence))
        assert read.id == version.id
    with pytest.raises(NoSuchVersion, match="the latest is number 4"):
        await found(world, "5")


async def test_an_id_that_begins_with_decimal_digits_is_found_by_them():
    """One in forty does; what reads as a number is one only where the dataset has come so far."""
    world = World()
    made = (stored(world, 1, None, mark) for mark in range(10_000))
    version = next(each for each in made if each.id[:8].isdigit() and int(each.id[:8]) > 1)
    reference = Reference(dataset=DATASET, version=version.id, sequence=1, cut_by="x")
    world.put_now(reference_key(DATASET), stored_bytes(reference))
    assert (await VersionStore(world).version(DATASET, version.id[:8])).id == version.id
    assert await found(world, "1") == 1
    with pytest.raises(NoSuchVersion, match="no version 12345678"):
        await found(world, "12345678")


async def test_an_ambiguous_beginning_is_refused_with_what_it_could_mean(monkeypatch):
    """Two versions whose ids begin alike are told apart by more digits."""
    world = World()
    monkeypatch.setattr("headrace.core.version_names.PREFIX_MIN", 1)
    versions = world.chain(40)
    beginnings = [version.id[0] for version in versions]
    twice = next(one for one in beginnings if beginnings.count(one) > 1 and one.isalpha())
    with pytest.raises(NoSuchVersion, match=f"{twice} is the beginning of several versions"):
        await found(world, twice)


async def test_a_number_is_found_without_reading_the_history(monkeypatch):
    """Of a long history one manifest is read beside the latest."""
    world = World()
    world.chain(200)
    read, get = [], world.get

    async def reading(key, **more):
        read.append(key)
        return await get(key, **more)

    monkeypatch.setattr(world, "get", reading)
    assert await found(world, "7") == 7
    assert len(read) == 3


async def test_a_tag_never_moves():
    """Made once; made again for the same version nothing changes, for another one it is refused; deleted it is gone."""
    world = World()
    versions = world.chain(3)
    tag = await create_tag(world, "v1.0", versions[0])
    assert await create_tag(world, "v1.0", versions[0]) == tag
    with pytest.raises(TagTaken, match="names version 1"):
        await create_tag(world, "v1.0", versions[2])
    await create_tag(world, "best", versions[2])
    assert [(each.tag, each.sequence) async for each in tags(world, DATASET)] == [("best", 3), ("v1.0", 1)]
    assert await VersionStore(world).datasets() == (DATASET,)
    assert await delete_tag(world, DATASET, "v1.0")
    assert not await delete_tag(world, DATASET, "v1.0")
    assert await read_tag(world, DATASET, "v1.0") is None


@pytest.mark.parametrize("name", ["", "main", "7", "beef", "abcdef12", "a/b", "..", ".x", "x.", "A", "a~1", "é", "a" * 65, "a\n"])
def test_no_tag_can_be_read_as_something_else(name):
    """Numbers, ids, the branch and paths are no tags."""
    with pytest.raises(ValueError, match="cannot be a tag"):
        require_tag(name)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"format": 2}', b"\xff"])
async def test_a_damaged_tag_is_named(body):
    """Whatever lies where a tag should be, the error names the object; other names work as ever."""
    world = World()
    world.chain(2)
    world.put_now(tag_key(DATASET, "good"), body)
    with pytest.raises(DamagedVersion, match=r"refs/maths/tags/good\.json"):
        await found(world, "good")
    assert await found(world, "main~1") == 1


async def test_a_tag_whose_version_is_gone_says_which():
    """The manifest that the tag names is named."""
    world = World()
    versions = world.chain(2)
    await create_tag(world, "good", versions[0])
    del world.objects[versions[0].manifest_key]
    with pytest.raises(DamagedVersion, match=versions[0].manifest_key):
        await found(world, "good")


def test_names_are_read_without_a_store():
    """What a name means is decided by its form alone."""
    assert (version_name("12").sequence, version_name("12~3").back, version_name("").reference) == (12, 3, "main")
    assert version_name("123456789").prefix == "123456789"
    key = manifest_key(DATASET, 12, "ab" * 32)
    assert listed_version(DATASET, key) == (12, "ab" * 32)
    assert listed_version(DATASET, "manifests/maths/x.json") is None
