"""Behind thousands of tiny commits: a few calls to the store for what concerns a few versions, and every answer is right."""

import asyncio
from copy import deepcopy

import pytest

from headrace.adapters.versions.forgetting import Forgetting
from headrace.adapters.versions.gc import GarbageCollector, Keeping
from headrace.adapters.versions.lineage import lineage
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.versions.sweeps import SWEEP_S_MAX, SweepTooLong
from headrace.core.versions import DamagedVersion, RowKind, manifest_prefix
from tests.fakes.decisions import DATASET, RETRACTED, place, retraction
from tests.fakes.tiny_commits import Branch, QuickStore, TinyCommits, sample_id

COMMITS = 3_000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> QuickStore:
    """The branch, written once."""
    store = QuickStore()
    asyncio.run(Branch(store, COMMITS, tmp_path_factory.mktemp("branch")).write())
    return store


@pytest.fixture
def store(written: QuickStore) -> QuickStore:
    """A copy to work on."""
    return deepcopy(written)


async def test_the_branch_is_what_the_cutter_leaves(tmp_path):
    """So what is measured on it is true: the same rows in as many shards."""
    real, made = QuickStore(), QuickStore()
    commits = TinyCommits(real)
    for _ in range(40):
        version = await commits.cut()
    await Branch(made, 40, tmp_path).write()
    other = await VersionStore(made).version(DATASET)
    shards = [
        [(shard.rows, shard.min_id, shard.max_id) for shard in each.manifest.shards_of(RowKind.ACCEPTED)]
        for each in (version, other)
    ]
    assert shards[0] == shards[1]
    assert len(shards[0]) == 2 + 40 % 16


async def test_many_commits_leave_few_shards_and_the_next_one_reads_them_all(store):
    """Every row is there once, the new one and those of all before; a commit without rows changes no shard."""
    commits = TinyCommits(store, first=COMMITS, empty_every=2)
    version = await commits.cut()
    shards = version.manifest.shards_of(RowKind.ACCEPTED)
    assert len(shards) <= 60
    batches = [batch async for batch in VersionStore(store).rows(version.manifest, RowKind.ACCEPTED, ["sample_id"])]
    assert sorted(each for batch in batches for each in batch["sample_id"].to_pylist()) == sorted(
        sample_id(number) for number in range(COMMITS + 1)
    )
    assert (await commits.cut()).manifest.shards_of(RowKind.ACCEPTED) == shards


@pytest.mark.parametrize(("name", "number"), [("main", COMMITS), ("main~2000", 1_000), ("1000", 1_000), ("", COMMITS)])
async def test_a_name_is_resolved_by_a_few_calls(store, name, number):
    """Whatever lies between."""
    store.asked = 0
    assert (await VersionStore(store).version(DATASET, name)).manifest.sequence == number
    assert store.asked < 10


async def test_an_id_of_old_is_found_and_a_recent_one_without_listing_what_is_old(store):
    """By its whole id as by the beginning of it; one that is nowhere is named."""
    versions = VersionStore(store)
    old, recent = [(await versions.version(DATASET, str(number))).id for number in (7, COMMITS - 7)]
    assert (await versions.version(DATASET, old[:12])).manifest.sequence == 7
    for version, number, listed_max in ((old, 7, COMMITS + 10), (recent, COMMITS - 7, 1_010)):
        store.listed = 0
        assert (await VersionStore(store).manifest(DATASET, version)).sequence == number
        assert store.listed <= listed_max
    with pytest.raises(DamagedVersion, match=f"{manifest_prefix(DATASET)}.*{'0' * 64}.json: no such object"):
        await versions.manifest(DATASET, "0" * 64)


async def test_lineage_tells_the_first_version_however_far_back_it_lies(store):
    """By halves; of a sample that was taken back the last version that had it."""
    versions = VersionStore(store)
    latest = await versions.version(DATASET)
    store.asked = 0
    for number in (0, 17, COMMITS - 1):
        [found] = (await lineage(versions, latest, sample_id(number), 10)).ancestors
        assert [decided.first_version for decided in found.decided] == [number + 1]
    assert store.asked < 200
    commits = TinyCommits(store, first=COMMITS)
    retracted = [(retraction(sample_id(17)), place(0, RETRACTED))]
    await commits.cutter.staging.stage_retracted(DATASET, RETRACTED, retracted)
    for _ in range(3):
        latest = await commits.cut()
    [found] = (await lineage(versions, latest, sample_id(17), 10)).ancestors
    assert (found.decided, found.last_version) == ([], COMMITS)


async def test_a_collection_reads_each_manifest_once_and_tells_how_far_it_is(store):
    """What it finds is what was merged away, where history is pruned; its calls are one for each version, and a few more."""
    told: list[int] = []
    store.asked = 0
    whole = GarbageCollector(store, Keeping(-1.0), tell=told.append)
    assert [found.entry.key async for found in whole.find() if found.entry.key.startswith("manifests/")] == []
    assert told == list(range(1, COMMITS + 1))
    assert store.asked < 1.2 * COMMITS  # gaps are listed once a second
    pruned = GarbageCollector(store, Keeping(-1.0, last=10))
    gone = [found.entry.key async for found in pruned.find()]
    assert sum(key.startswith("manifests/") for key in gone) == COMMITS - 10
    assert sum(key.startswith("shards/") for key in gone) > COMMITS - 100


async def test_a_collection_that_reads_for_too_long_deletes_nothing_and_says_what_to_do(store):
    """Others would take its sign for one that a killed one left."""
    now = [0.0]

    def clock() -> float:
        now[0] += SWEEP_S_MAX / 100
        return now[0]

    before = dict(store.objects)
    with pytest.raises(SweepTooLong, match="nothing was deleted; prune old ones"):
        _ = [found async for found in GarbageCollector(store, Keeping(-1.0), clock).delete()]
    assert {key: body for key, body in store.objects.items() if not key.startswith("gc/")} == before


async def test_a_sample_is_forgotten_in_all_versions_and_each_shard_is_looked_into_once():
    """Of commits that a cutter cut; many versions share what they share."""
    store, upto = QuickStore(), 60
    commits = TinyCommits(store)
    for _ in range(upto):
        await commits.cut()
    await commits.cutter.staging.stage_retracted(DATASET, RETRACTED, [(retraction(sample_id(3)), place(0, RETRACTED))])
    await commits.cut()
    store.asked = 0
    forgotten = await Forgetting(VersionStore(store), DATASET, sample_id(3)).forget()
    assert forgotten.versions == upto - 3
    assert store.asked < 10 * upto
    versions = VersionStore(store)
    for name in ("10", "main~1"):
        assert not await versions.find((await versions.version(DATASET, name)).manifest, RowKind.ACCEPTED, sample_id(3))


async def test_a_damaged_manifest_is_named_and_what_is_behind_it_stays_readable(store):
    """A number, a tag or an id is found without it."""
    versions = VersionStore(store)
    bad = await versions.version(DATASET, "1500")
    store.objects[bad.manifest_key] = store.objects[bad.manifest_key][:-1]
    fresh = VersionStore(store)
    with pytest.raises(DamagedVersion, match=bad.manifest_key):
        await fresh.version(DATASET, "1500")
    assert (await fresh.version(DATASET, "1499")).manifest.sequence == 1_499
    with pytest.raises(DamagedVersion, match=bad.manifest_key):
        _ = [found async for found in GarbageCollector(store, Keeping(-1.0)).find()]
    await TinyCommits(store, first=COMMITS).cut()
