"""Embeddings of several models in one version: beside each other, and never of what is not there."""

import itertools

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.core.versions import RowKind, Version
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, dossier, indexed, place
from tests.fakes.object_store import FakeObjectStore


class World:
    """A dataset's topics with their offsets, and a cutter."""

    def __init__(self) -> None:
        self.cutter = VersionCutter(FakeObjectStore(), CutSettings(embeddings_wait_s=0))
        self.offsets = itertools.count()

    async def accept(self, *samples: tuple[str, int]) -> None:
        rows = [(dossier(*each), place(next(self.offsets))) for each in samples]
        await self.cutter.staging.stage_decided(DATASET, DECIDED, rows)

    async def embed(self, version: str, *samples: tuple[str, int]) -> None:
        rows = [(indexed(*each, version=version), place(next(self.offsets), INDEXED)) for each in samples]
        await self.cutter.staging.stage_indexed(DATASET, INDEXED, rows)

    async def cut(self) -> Version:
        return certain(await self.cutter.cut(DATASET, f"cut-{next(self.offsets)}")).version

    async def embeddings(self, version: Version) -> list[tuple[str, int, str]]:
        columns = ["sample_id", "revision", "model_version"]
        batches = [each async for each in self.cutter.versions.rows(version.manifest, RowKind.EMBEDDINGS, columns)]
        return sorted((row["sample_id"], row["revision"], row["model_version"]) for each in batches for row in each.to_pylist())


async def test_embeddings_of_another_model_join_those_there_are():
    """A survey with a new model gives each row a second embedding; both are kept."""
    world = World()
    await world.accept(("a", 0), ("b", 0))
    await world.embed("3", ("a", 0), ("b", 0))
    await world.cut()
    await world.embed("4", ("a", 0), ("b", 0))
    await world.accept(("c", 0))
    version = await world.cut()
    assert await world.embeddings(version) == [("a", 0, "3"), ("a", 0, "4"), ("b", 0, "3"), ("b", 0, "4")]
    assert (version.manifest.counts.embeddings, version.manifest.counts.embeddings_missing) == (4, 1)


async def test_late_embeddings_of_a_replaced_revision_are_left_out():
    """Surveyed before its next revision was accepted, embedded after: the version has no embedding of what is not there."""
    world = World()
    await world.accept(("a", 0), ("b", 0))
    await world.embed("3", ("a", 0), ("b", 0))
    await world.cut()
    await world.accept(("a", 1))
    await world.cut()
    await world.embed("4", ("a", 0), ("b", 0))
    await world.accept(("c", 0))
    assert await world.embeddings(await world.cut()) == [("b", 0, "3"), ("b", 0, "4")]


async def test_a_version_does_not_grow_with_each_model_that_measured():
    """Of many the latest stay; one that measures again, older as it is, stays as long as it brings rows."""
    world = World()
    names = [f"s{n}" for n in range(8)]
    await world.accept(*((name, 0) for name in names))
    for model_version in range(1, 9):  # a round each: the whole dataset is measured anew
        await world.accept((f"of-{model_version}", 0))
        await world.embed(str(model_version), *((name, 0) for name in names))
        version = await world.cut()
    assert {each[2] for each in await world.embeddings(version)} == {"6", "7", "8"}
    await world.accept(("back", 0))
    await world.embed("2", ("back", 0))
    version = await world.cut()
    assert {each[2] for each in await world.embeddings(version)} == {"2", "6", "7", "8"}
    await world.accept(("nobody", 0))
    version = await world.cut()
    assert {each[2] for each in await world.embeddings(version)} == {"2", "6", "7", "8"}
    await world.accept(("forth", 0))
    await world.embed("9", ("forth", 0))
    version = await world.cut()
    assert {each[2] for each in await world.embeddings(version)} == {"7", "8", "9"}


async def test_what_covers_the_dataset_stays_until_another_does():
    """Several checkpoints without a round between them: each has embeddings of a few rows, the first of nearly all."""
    world = World()
    names = [(f"s{n}", 0) for n in range(8)]
    await world.accept(*names)
    await world.embed("1", *names)
    for model_version in range(2, 8):
        await world.accept((f"of-{model_version}", 0))
        await world.embed(str(model_version), (f"of-{model_version}", 0))
        version = await world.cut()
    assert {each[2] for each in await world.embeddings(version)} == {"1", "5", "6", "7"}
    assert version.manifest.counts.embeddings_missing == 6
    await world.accept(("last", 0))
    await world.embed("8", *names, ("last", 0))
    version = await world.cut()
    assert {each[2] for each in await world.embeddings(version)} == {"6", "7", "8"}
