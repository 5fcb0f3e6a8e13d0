"""The index made again from the object store answers as the one that was lost."""

from dataclasses import replace

import numpy as np
import pytest

from headrace.adapters.vector_index.rebuilding import rebuild
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.staging import StagingArea
from headrace.core.dossiers import DuplicateKind
from headrace.core.events import Stop
from headrace.core.ports.vector_index import Content, PendingPoint, Question, Space, Submission, Surroundings, Vectors
from headrace.core.reasons import Reason
from headrace.core.samples import prompt_hash_of
from headrace.core.versions import DamagedVersion
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, RETRACTED, dossier, indexed, place, retraction, sample
from tests.fakes.exact_vector_index import ExactVectorIndex
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.rewrites import rewrite

SPACE = Space(DATASET, "smol", "3")
VECTOR = np.array([1, 0, 0, 0], np.float32)


async def stored(objects: FakeObjectStore, *, cut: bool, first: int, keys: list[tuple[str, int]], version: str = "3") -> None:
    """Accepts these samples and revisions, staged, and cut into a version where wanted."""
    cutter = VersionCutter(objects, CutSettings(shards=ShardLimits(shard_rows_max=4, group_rows_max=2), embeddings_wait_s=0))
    decided = [(dossier(*key), place(first + n)) for n, key in enumerate(keys)]
    embedded = [(indexed(*key, version=version), place(first + n, INDEXED)) for n, key in enumerate(keys)]
    await cutter.staging.stage_decided(DATASET, DECIDED, decided)
    await cutter.staging.stage_indexed(DATASET, INDEXED, embedded)
    if cut:
        await cutter.cut(DATASET, f"request-{first}")


async def about(index: ExactVectorIndex, sample_id: str, revision: int = 0) -> Surroundings:
    of = sample(sample_id, revision)
    submission = Submission(SPACE, "probe", 0, 1_000)
    content = Content(of.content_hash, prompt_hash_of(of))
    [answer] = await index.look([Question(submission, content, Vectors(VECTOR, VECTOR), 0.999, 2)])
    return answer


async def test_version_and_staged_samples_come_back() -> None:
    """What a version holds and what was staged since is there, by content, prompt and vector, in the space of its model."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    await stored(objects, cut=True, first=0, keys=[(f"s{n}", 0) for n in range(9)])
    await stored(objects, cut=False, first=9, keys=[("t", 0), ("u", 0)])
    assert await rebuild(index, objects, DATASET, clear=False) == 11
    assert [(census.space, census.accepted, census.dimensions) for census in await index.census()] == [(SPACE, 11, 4)]
    for name in ("s3", "t"):
        answer = await about(index, name)
        assert [each.sample_id for each in answer.akin] == [name]
        assert answer.prompt_copies == 1
        assert answer.near is not None


async def test_only_the_highest_revisions_come_back() -> None:
    """Revisions that a later one replaced stay away, whether that one is in the version or only staged."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    await stored(objects, cut=True, first=0, keys=[("a", 0), ("b", 0), ("b", 1)])
    await stored(objects, cut=False, first=3, keys=[("a", 1), ("a", 2)])
    assert await rebuild(index, objects, DATASET, clear=False) == 2
    found = {
        name: [each.revision for each in (await about(index, name, revision)).akin] for name, revision in (("a", 2), ("b", 1))
    }
    assert found == {"a": [2], "b": [1]}


async def test_each_model_gets_its_own_space_again() -> None:
    """Embeddings of two model versions come back apart."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    await stored(objects, cut=True, first=0, keys=[("a", 0)])
    await stored(objects, cut=True, first=1, keys=[("b", 0)], version="4")
    await rebuild(index, objects, DATASET, clear=False)
    assert {census.space.model_version: census.accepted for census in await index.census()} == {"3": 1, "4": 1}


async def test_clearing_drops_what_the_store_does_not_know_and_spares_the_pending() -> None:
    """Without clearing the index only gains; with it, accepted points are exactly those in the store."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    await stored(objects, cut=True, first=0, keys=[("a", 0)])
    points = [PendingPoint(Submission(SPACE, f"x{n}", 0, n), Content(f"c{n}", "p"), Vectors(VECTOR, VECTOR), 0.0) for n in (1, 2)]
    await index.enter(points)
    await index.accept([points[0].submission])
    for clear, accepted in ((False, 2), (False, 2), (True, 1)):
        assert await rebuild(index, objects, DATASET, clear=clear) == 1
        assert [(census.accepted, census.pending) for census in await index.census()] == [(accepted, 1)]


async def test_a_dataset_without_versions_is_rebuilt_from_what_is_staged() -> None:
    """A young dataset has staged segments only; an unknown one has nothing."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    assert await rebuild(index, objects, DATASET, clear=True) == 0
    await stored(objects, cut=False, first=0, keys=[("a", 0)])
    assert await rebuild(index, objects, DATASET, clear=True) == 1


async def test_damage_and_absence_are_told_apart() -> None:
    """A damaged shard is named; a store that is gone stops the rebuilding."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    await stored(objects, cut=True, first=0, keys=[("a", 0)])
    for key in [key for key in objects.objects if key.startswith("shards/")]:
        objects.objects[key] = b"garbage"
    with pytest.raises(DamagedVersion, match="shards/"):
        await rebuild(index, objects, DATASET, clear=False)
    objects.down = True
    with pytest.raises(Stop):
        await rebuild(index, objects, DATASET, clear=False)


async def test_what_was_retracted_does_not_come_back() -> None:
    """Retractions in the version and staged ones are rules again, and the samples they cover stay away."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    staging = StagingArea(objects)
    await staging.stage_retracted(DATASET, RETRACTED, [(retraction("a"), place(0, RETRACTED))])
    await stored(objects, cut=True, first=0, keys=[("a", 0), ("b", 0), ("c", 0), ("d", 0)])
    await staging.stage_retracted(DATASET, RETRACTED, [(retraction("b", 3), place(1, RETRACTED))])
    await stored(objects, cut=False, first=4, keys=[("a", 1), ("b", 2)])
    assert await rebuild(index, objects, DATASET, clear=False) == 3
    assert await index.retracted({DATASET: {"a", "b", "c"}}) == {DATASET: {"a": 0, "b": 3}}
    assert [census.accepted for census in await index.census()] == [3]


async def test_embeddings_of_a_survey_with_another_model_join_those_there_are() -> None:
    """Staged for a later version, they leave the old model's points alone, and do not bring back what was replaced."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    await stored(objects, cut=True, first=0, keys=[("a", 0), ("a", 1), ("b", 0)])
    surveyed = [(indexed(name, version="4"), place(3 + n, INDEXED)) for n, name in enumerate("ab")]
    await StagingArea(objects).stage_indexed(DATASET, INDEXED, surveyed)
    assert await rebuild(index, objects, DATASET, clear=False) == 3
    assert {census.space.model_version: census.accepted for census in await index.census()} == {"3": 2, "4": 1}
    assert [(each.sample_id, each.revision) for each in (await about(index, "a", 1)).akin] == [("a", 1)]


async def test_what_was_rejected_keeps_its_name() -> None:
    """From the version and from what is staged behind it, of several contents the first; rewrites and conflicts take none."""
    objects, index = FakeObjectStore(), ExactVectorIndex()
    cutter = VersionCutter(objects, CutSettings(shards=ShardLimits(shard_rows_max=4, group_rows_max=2), embeddings_wait_s=0))
    staged = [dossier(name, reason=Reason.TRUNCATED, text="first") for name in ("cut", "both")]
    conflict = dossier("conflict", reason=Reason.REVISION_CONFLICT)
    placement = conflict.placement
    assert placement is not None
    staged += [
        replace(conflict, placement=replace(placement, duplicate_kind=DuplicateKind.REVISION_CONFLICT)),
        replace(dossier("rewrite", reason=Reason.NOT_BETTER), rewrite=rewrite()),
        dossier("accepted"),
    ]
    await cutter.staging.stage_decided(DATASET, DECIDED, [(each, place(n)) for n, each in enumerate(staged)])
    await cutter.staging.stage_indexed(DATASET, INDEXED, [(indexed("accepted"), place(0, INDEXED))])
    await cutter.cut(DATASET, "request")
    later = [dossier(name, reason=Reason.TRUNCATED, text="second") for name in ("both", "staged")]
    await cutter.staging.stage_decided(DATASET, DECIDED, [(each, place(10 + n)) for n, each in enumerate(later)])
    assert await rebuild(index, objects, DATASET, clear=False) == 1
    names = ("cut", "both", "conflict", "rewrite", "accepted", "staged")
    found = {name: await rejected_under(index, name) for name in names}
    texts = {"cut": "first", "both": "first", "staged": "second"}
    assert found == {name: sample(name, text=texts[name]).content_hash if name in texts else None for name in names}


async def rejected_under(index: ExactVectorIndex, sample_id: str) -> str | None:
    submission = Submission(SPACE, sample_id, 0, 1_000)
    [answer] = await index.look([Question(submission, Content("c", "p"), Vectors(VECTOR, VECTOR), 0.999, 2)])
    return answer.rejected
