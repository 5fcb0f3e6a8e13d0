"""What is no longer there of a version is stated, not passed over; what never was there is damage."""

import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.gaps import note_pruned
from headrace.client.read_again import ReadVersion
from headrace.core.checkpoints import TrainingData, VersionPart
from headrace.core.versions import DamagedVersion
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore


async def read(objects: FakeObjectStore, data: TrainingData) -> tuple[list[tuple[str, int]], list[str]]:
    rows: list[tuple[str, int]] = []
    gaps: list[str] = []

    def accept(sample_id: str, revision: int, prompt_hash: str, *, read: bool = True) -> None:
        assert read
        assert prompt_hash
        rows.append((sample_id, revision))

    with ReadVersion() as version:
        await version.read(objects, data, accept, gaps.append, keys=True)
        assert all(version.holds(*row) for row in rows)
    return rows, gaps


async def test_rows_are_those_of_the_parts(tmp_path):
    """The whole version, or of its shards what lies between two places."""
    objects = FakeObjectStore()
    cutter = VersionCutter(objects, CutSettings(embeddings_wait_s=0))
    rows = [(dossier(f"s{number}", 0), place(number)) for number in range(6)]
    await cutter.staging.stage_decided(DATASET, DECIDED, rows)
    version = certain(await cutter.cut(DATASET, "request")).version
    whole, gaps = await read(objects, TrainingData(DATASET, version.id))
    assert ([sample_id for sample_id, _ in whole], gaps) == ([f"s{number}" for number in range(6)], [])
    part = VersionPart((0, 1), (0, 1), (0, 4))
    assert (await read(objects, TrainingData(DATASET, version.id, version_parts=(part,))))[0] == whole[1:4]
    halves = [
        (await read(objects, TrainingData(DATASET, version.id, version_parts=(VersionPart((index, 2)),))))[0]
        for index in range(2)
    ]
    assert sorted(halves[0] + halves[1]) == whole


async def test_a_pruned_version_is_stated_as_a_gap():
    """Not as damage, unless nothing was ever pruned."""
    objects = FakeObjectStore()
    data = TrainingData(DATASET, "9f" * 32)
    with pytest.raises(DamagedVersion):
        await read(objects, data)
    await note_pruned(objects, DATASET, 4)
    assert await read(objects, data) == ([], [f"version {'9f' * 6} was pruned, as all below number 4: its rows are not listed"])
