"""Cutting versions from staged segments: the same input gives the same version, whatever happens on the way."""

import hashlib
import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.core.events import Stop
from headrace.core.reasons import Reason
from headrace.core.versions import RowKind, stored_bytes, version_of
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, dossier, indexed, place
from tests.fakes.object_store import FakeObjectStore

LIMITS = ShardLimits(shard_rows_max=8, group_rows_max=4)


def cutter(objects, **more) -> VersionCutter:
    return VersionCutter(objects, CutSettings(shards=LIMITS, embeddings_wait_s=0, embeddings_poll_s=0.001, **more))


async def stage(cut, events, first=0, stream=DECIDED):
    """One segment of (id, revision, reason) rows at consecutive offsets."""
    rows = [(dossier(*event), place(first + n, stream)) for n, event in enumerate(events)]
    await cut.staging.stage_decided(DATASET, stream, rows)


async def stage_embeddings(cut, events, first=0, **more):
    rows = [(indexed(*event, **more), place(first + n, INDEXED)) for n, event in enumerate(events)]
    await cut.staging.stage_indexed(DATASET, INDEXED, rows)


async def rows(cut, version, kind=RowKind.ACCEPTED):
    batches = [batch async for batch in cut.versions.rows(version.manifest, kind)]
    return [row for batch in batches for row in batch.to_pylist()]


async def ids(cut, version, kind=RowKind.ACCEPTED):
    return sorted((row["sample_id"], row["revision"]) for row in await rows(cut, version, kind))


async def test_a_version_holds_what_was_decided():
    """Accepted and rejected rows, counts, offsets and embeddings of a first version are those staged."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("b",), ("a",), ("c", 0, Reason.NEAR_DUPLICATE)], first=10)
    await stage_embeddings(cut, [("b",), ("a",)])
    result = certain(await cut.cut(DATASET, "request-1"))
    manifest = result.version.manifest
    assert result.new
    assert await ids(cut, result.version) == [("a", 0), ("b", 0)]
    assert await ids(cut, result.version, RowKind.REJECTED) == [("c", 0)]
    assert manifest.inputs == {DECIDED: 12, INDEXED: 1}
    assert manifest.counts.model_dump() == {
        "decided": 3, "accepted": 2, "rejected": 1, "superseded": 0, "retracted": 0, "forgotten": 0,
        "embeddings": 2, "embeddings_missing": 0,
    }  # fmt: skip
    assert manifest.reasons == {"accepted": 2, "near_duplicate": 1}
    assert manifest.policies == {"p1": 3}
    assert manifest.models == {"smol 3": 3}
    embeddings = await rows(cut, result.version, RowKind.EMBEDDINGS)
    assert [(row["sample_id"], row["prompt"]) for row in embeddings] == [("a", [1.0, 0, 0, 0]), ("b", [1.0, 0, 0, 0])]
    assert embeddings[0]["prompt_hash"]


async def test_the_version_id_is_the_hash_of_the_manifest_and_shards_are_named_by_theirs():
    """Content addresses are true."""
    objects = FakeObjectStore()
    cut = cutter(objects)
    await stage(cut, [(f"s{n}",) for n in range(20)])
    version = certain(await cut.cut(DATASET, "r")).version
    assert version.id == version_of(objects.objects[version.manifest_key])
    assert len(version.manifest.shards_of(RowKind.ACCEPTED)) == 3
    for shard in version.manifest.shards_of(RowKind.ACCEPTED):
        assert hashlib.sha256(objects.objects[shard.key]).hexdigest() == shard.sha256
        assert len(objects.objects[shard.key]) == shard.size_bytes


async def test_nothing_new_is_no_new_version():
    """Cutting again answers with the version there is, and writes nothing."""
    objects = FakeObjectStore()
    cut = cutter(objects)
    await stage(cut, [("a",)])
    first = certain(await cut.cut(DATASET, "r1"))
    before = dict(objects.objects)
    second = certain(await cut.cut(DATASET, "r2"))
    assert (second.version.id, second.new, second.committed_at) == (first.version.id, False, first.committed_at)
    assert objects.objects == before


async def test_an_empty_dataset_has_an_empty_first_version():
    """Asking for a version of nothing gives one without rows, once."""
    cut = cutter(FakeObjectStore())
    first = certain(await cut.cut(DATASET, "r1"))
    assert (first.new, first.version.manifest.counts.accepted, first.version.manifest.sequence) == (True, 0, 1)
    assert await rows(cut, first.version) == []
    assert not certain(await cut.cut(DATASET, "r2")).new


async def test_a_later_revision_replaces_the_earlier_one():
    """Only shards that hold a replaced row are written anew; its old embeddings go too."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [(f"s{n:02}",) for n in range(16)])
    await stage_embeddings(cut, [(f"s{n:02}",) for n in range(16)])
    first = certain(await cut.cut(DATASET, "r1")).version
    await stage(cut, [("s03", 1), ("s03", 2)], first=100)
    second = certain(await cut.cut(DATASET, "r2")).version
    assert await ids(cut, second) == sorted([*((f"s{n:02}", 0) for n in range(16) if n != 3), ("s03", 2)])
    assert second.manifest.counts.superseded == 2
    assert second.manifest.counts.embeddings_missing == 1
    kept = {shard.sha256 for shard in first.manifest.shards_of(RowKind.ACCEPTED)} & {
        shard.sha256 for shard in second.manifest.shards_of(RowKind.ACCEPTED)
    }
    assert len(kept) == 1
    assert ("s03", 0) not in await ids(cut, second, RowKind.EMBEDDINGS)
    await stage_embeddings(cut, [("s03", 2)], first=100)
    third = certain(await cut.cut(DATASET, "r3")).version
    assert third.manifest.counts.embeddings_missing == 0
    assert third.manifest.shards_of(RowKind.ACCEPTED) == second.manifest.shards_of(RowKind.ACCEPTED)


async def test_a_late_lower_revision_does_not_replace():
    """A lower revision that is accepted after a higher one counts as superseded."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("a", 3)])
    await cut.cut(DATASET, "r1")
    await stage(cut, [("a", 1), ("b", 0)], first=5)
    second = certain(await cut.cut(DATASET, "r2")).version
    assert await ids(cut, second) == [("a", 3), ("b", 0)]
    assert second.manifest.counts.superseded == 1


async def test_every_rejection_is_kept():
    """Rejections of one sample do not replace each other."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("a",), ("a", 0, Reason.ALREADY_ADMITTED), ("a", 0, Reason.ALREADY_ADMITTED)])
    await cut.cut(DATASET, "r1")
    await stage(cut, [("a", 0, Reason.ALREADY_ADMITTED)], first=10)
    version = certain(await cut.cut(DATASET, "r2")).version
    assert await ids(cut, version, RowKind.REJECTED) == [("a", 0)] * 3


async def test_models_never_share_a_shard_of_embeddings():
    """Embeddings of another model or length lie in shards of their own, which say whose they are."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("a",), ("b",)])
    await stage_embeddings(cut, [("a",), ("b",)])
    await stage_embeddings(cut, [("a",)], first=10, dimensions=2, version="4")
    version = certain(await cut.cut(DATASET, "r1")).version
    shards = version.manifest.shards_of(RowKind.EMBEDDINGS)
    assert sorted((shard.group, shard.rows) for shard in shards) == [(("smol", "3", 4), 2), (("smol", "4", 2), 1)]
    assert version.manifest.counts.embeddings_missing == 0


async def test_exactly_so_many_rows_are_taken():
    """A cut of n rows takes the first n by offset with their embeddings, and leaves the rest to the next."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [(f"s{n}",) for n in range(3)])
    await stage(cut, [(f"s{n}",) for n in range(3, 8)], first=3)
    await stage_embeddings(cut, [(f"s{n}",) for n in range(8)])
    first = certain(await cut.cut(DATASET, "r1", rows=5)).version
    assert await ids(cut, first) == [(f"s{n}", 0) for n in range(5)]
    assert (first.manifest.inputs, first.manifest.counts.embeddings) == ({DECIDED: 4, INDEXED: 4}, 5)
    assert not certain(await cut.cut(DATASET, "r2", rows=5)).new
    second = certain(await cut.cut(DATASET, "r3")).version
    assert await ids(cut, second) == [(f"s{n}", 0) for n in range(8)]


async def test_a_dataset_with_too_few_rows_for_its_first_version_has_none():
    """A cut of n rows of a dataset without a version makes none from fewer."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("a",)])
    assert await cut.cut(DATASET, "r1", rows=2) is None


async def test_a_cut_waits_for_embeddings_on_their_way(monkeypatch):
    """Embeddings that are staged while the cut runs are in it."""
    objects = FakeObjectStore()
    cut = VersionCutter(objects, CutSettings(embeddings_wait_s=5, embeddings_poll_s=0.001))
    await stage(cut, [("a",)])
    await stage(cut, [("b",)], first=1)
    await stage_embeddings(cut, [("a",)])
    since, calls = cut.staging.since, itertools.count()

    async def arriving(*args):
        if next(calls) == 2:
            await stage_embeddings(cut, [("b",)], first=1)
        return await since(*args)

    monkeypatch.setattr(cut.staging, "since", arriving)
    assert certain(await cut.cut(DATASET, "r1")).version.manifest.counts.embeddings_missing == 0


async def test_of_two_cutters_one_rebases(monkeypatch):
    """The loser of the race takes the winner's version for its parent; no row is lost or doubled."""
    objects = FakeObjectStore()
    one, other = cutter(objects), cutter(objects)
    await stage(one, [("a",), ("b",)])
    raced = False

    def race_once(key: str) -> None:
        nonlocal raced
        if key.startswith("refs/") and not raced:
            raced = True
            raise Interrupted

    objects.before_write = race_once
    with pytest.raises(Interrupted):
        await one.cut(DATASET, "r1")
    replace = objects.put_if_absent

    async def lose_once(key: str, body: bytes) -> bool:
        if key.startswith("refs/"):
            monkeypatch.setattr(objects, "put_if_absent", replace)
            await other.cut(DATASET, "theirs")
            await stage(other, [("c",)], first=7)
        return await replace(key, body)

    monkeypatch.setattr(objects, "put_if_absent", lose_once)
    version = certain(await one.cut(DATASET, "r2")).version
    assert version.manifest.sequence == 2
    assert await ids(one, version) == [("a", 0), ("b", 0), ("c", 0)]


class Interrupted(BaseException):
    """Stands for the death of the process."""


async def test_a_crash_anywhere_leaves_the_old_or_the_new_version():
    """Killed before any write of a cut, a repeated cut gives the same version as an undisturbed one."""

    async def prepared():
        objects = FakeObjectStore()
        cut = cutter(objects)
        await stage(cut, [(f"s{n}",) for n in range(10)])
        await cut.cut(DATASET, "r1")
        await stage(cut, [("s3", 1), ("x", 0), ("y", 0, Reason.TRUNCATED)], first=50)
        await stage_embeddings(cut, [("s3", 1), ("x", 0)])
        return objects, cut

    _, undisturbed = await prepared()
    first = certain(await undisturbed.versions.latest(DATASET))
    expected = certain(await undisturbed.cut(DATASET, "r2")).version.id
    for writes in range(20):
        objects, cut = await prepared()
        left = itertools.count(writes, -1)

        def die(key: str, left=left) -> None:
            if next(left) == 0:
                raise Interrupted

        objects.before_write = die
        try:
            await cut.cut(DATASET, "r2")
            break
        except Interrupted:
            assert certain(await cutter(objects).versions.latest(DATASET)).id == first.id
        objects.before_write = lambda _: None
        assert certain(await cutter(objects).cut(DATASET, "r2")).version.id == expected
    assert writes > 5
    assert certain(await cutter(objects).versions.latest(DATASET)).id == expected


async def test_a_redelivered_request_finds_its_own_version():
    """An answer that was never announced is given again, though more has been staged since."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("a",)])
    first = certain(await cut.cut(DATASET, "r1"))
    await stage(cut, [("b",)], first=1)
    again = certain(await cut.cut(DATASET, "r1"))
    assert (again.version.id, again.new, again.committed_at) == (first.version.id, True, first.committed_at)


async def test_a_store_that_refuses_writes_stops_the_cut():
    """Nothing is lost: once it takes writes again, the version is there."""
    objects = FakeObjectStore()
    cut = cutter(objects)
    await stage(cut, [("a",)])
    objects.read_only = True
    with pytest.raises(Stop):
        await cut.cut(DATASET, "r1")
    objects.read_only = False
    assert await ids(cut, certain(await cut.cut(DATASET, "r1")).version) == [("a", 0)]


async def test_many_small_cuts_leave_few_shards():
    """The number of shards grows with the logarithm of the rows, not with the number of cuts."""
    cut = VersionCutter(FakeObjectStore(), CutSettings(embeddings_wait_s=0))
    for n in range(70):
        await stage(cut, [(f"s{n:03}",)], first=n)
        version = certain(await cut.cut(DATASET, f"r{n}")).version
    assert sorted(shard.rows for shard in version.manifest.shards_of(RowKind.ACCEPTED)) == [1] * 6 + [16] * 4
    assert await ids(cut, version) == [(f"s{n:03}", 0) for n in range(70)]


async def test_staged_segments_behind_the_version_are_not_listed():
    """What a version has taken costs the next cut nothing."""
    objects = FakeObjectStore()
    cut = cutter(objects)
    for n in range(30):
        await stage(cut, [(f"s{n}",)], first=n)
    await cut.cut(DATASET, "r1")
    objects.listed = 0
    await cut.cut(DATASET, "r2")
    assert objects.listed <= 2


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "é", "z\0"]),
        st.integers(0, 3),
        st.sampled_from([Reason.ACCEPTED, Reason.ACCEPTED, Reason.TOO_DENSE]),
    ),
    max_size=24,
)


@settings(max_examples=60)
@given(events=EVENTS, data=st.data())
async def test_only_the_rows_matter(events, data):
    """However batches were cut and delivered again, and however rows were sorted, the version and its bytes are the same."""
    plain = cutter(FakeObjectStore())
    if events:
        await stage(plain, events)
    expected = certain(await plain.cut(DATASET, "r"))
    redelivered = cutter(FakeObjectStore(), run_bytes=data.draw(st.sampled_from([1, 4_000, 1_000_000])))
    for start in range(0, len(events), 5):
        begin = data.draw(st.integers(0, start))
        end = data.draw(st.integers(start + 5, start + 9))
        await stage(redelivered, events[begin:end], first=begin)
    version = certain(await redelivered.cut(DATASET, "r")).version
    assert version.id == expected.version.id
    assert stored_bytes(version.manifest) == stored_bytes(expected.version.manifest)
    model: dict[str, int] = {}
    for sample_id, revision, reason in events:
        if reason is Reason.ACCEPTED and revision >= model.get(sample_id, 0):
            model[sample_id] = revision
    assert await ids(redelivered, version) == sorted(model.items())
    assert version.manifest.counts.rejected == sum(reason is not Reason.ACCEPTED for *_, reason in events)


@settings(max_examples=40)
@given(events=EVENTS, cuts=st.lists(st.integers(0, 24), max_size=4))
async def test_any_sequence_of_cuts_ends_with_the_same_rows(events, cuts):
    """Cutting often or once, the highest revision of each sample is left, and every decision is counted once."""
    cut = cutter(FakeObjectStore())
    bounds = sorted({0, len(events), *(min(at, len(events)) for at in cuts)})
    for start, end in itertools.pairwise(bounds):
        await stage(cut, events[start:end], first=start)
        await cut.cut(DATASET, f"r{start}")
    version = certain(await cut.cut(DATASET, "last")).version
    model: dict[str, int] = {}
    for sample_id, revision, reason in events:
        if reason is Reason.ACCEPTED:
            model[sample_id] = max(revision, model.get(sample_id, 0))
    assert await ids(cut, version) == sorted(model.items())
    counts = version.manifest.counts
    assert counts.decided == len(events) == counts.accepted + counts.rejected + counts.superseded


async def test_a_shard_is_a_plain_parquet_file():
    """The documented columns, in OpenAI's chat form, sorted by id."""
    cut = cutter(FakeObjectStore())
    await stage(cut, [("b",), ("a",)])
    row = (await rows(cut, certain(await cut.cut(DATASET, "r")).version))[0]
    assert row["messages"][1]["tool_calls"][0] == {
        "id": "call-1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 6}'},
    }  # fmt: skip
    assert row["messages"][0]["tool_calls"] is None
    assert row["attributes"] == [{"key": "level", "value": "1"}, {"key": "topic", "value": "multiplication"}]
    assert row["submitted_at"].isoformat() == "2023-11-14T22:13:20.250000+00:00"
    assert (row["stream"], row["offset"]) == (DECIDED, 1)
    assert isinstance(pa.scalar(row["dossier"]), pa.BinaryScalar)
