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
