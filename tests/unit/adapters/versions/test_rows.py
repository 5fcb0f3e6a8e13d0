"""SQL on a version's rows: what it finds, what it cannot reach, and what it says of damage."""

import pytest

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.rows import QueryLimits, RowsAsked, rows_asked
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.core.events import Stop
from headrace.core.reasons import Reason
from headrace.core.versions import DamagedVersion, RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place
from tests.fakes.object_store import FakeObjectStore

LIMITS = ShardLimits(shard_rows_max=8, group_rows_max=4)


def any_ids(low: str, high: str) -> bool:
    """What a condition that says nothing of ids leaves in."""
    return low <= high


async def version(events, objects=None):
    objects = objects or FakeObjectStore()
    cutter = VersionCutter(objects, CutSettings(shards=LIMITS, embeddings_wait_s=0))
    if events:
        await cutter.staging.stage_decided(DATASET, DECIDED, [(dossier(*event), place(n)) for n, event in enumerate(events)])
    return objects, certain(await cutter.cut(DATASET, "r")).version.manifest


async def asked(objects, manifest, where="", columns="", limit=None, kind=RowKind.ACCEPTED, limits=None):
    batches = rows_asked(VersionStore(objects), manifest, RowsAsked(kind, where, columns, limit), limits)
    return [row async for batch in batches for row in batch.to_pylist()]


EVENTS = [*((f"s{n:02}",) for n in range(20)), ("t", 0, Reason.TOO_DENSE), ("u", 0, Reason.NEAR_DUPLICATE)]


async def test_conditions_columns_and_limits():
    """Any condition and any list of columns of DuckDB's SQL, over accepted or rejected rows."""
    objects, manifest = await version(EVENTS)
    assert len(await asked(objects, manifest)) == 20
    assert await asked(objects, manifest, "sample_id >= 's18' -- and so on", "sample_id, loss_mean") == [
        {"sample_id": "s18", "loss_mean": 1.5}, {"sample_id": "s19", "loss_mean": 1.5},
    ]  # fmt: skip
    assert len(await asked(objects, manifest, limit=3)) == 3
    assert await asked(objects, manifest, columns="count(*) AS n, max(decided_at) IS NOT NULL AS known") == [
        {"n": 20, "known": True}
    ]
    reasons = await asked(objects, manifest, columns="reason", where="reason LIKE '%dup%'", kind=RowKind.REJECTED)
    assert reasons == [{"reason": "near_duplicate"}]
    [row] = await asked(objects, manifest, "sample_id = 's03'")
    assert row["messages"][0]["role"] == "user"
    assert "dossier" not in row


async def test_versions_without_rows_and_with_one():
    """Nothing is found in an empty version, and one row in a version of one."""
    objects, empty = await version([])
    assert await asked(objects, empty) == []
    assert await asked(objects, empty, columns="count(*) AS n") == [{"n": 0}]
    objects, one = await version([("a",)])
    assert [row["sample_id"] for row in await asked(objects, one)] == ["a"]


@pytest.mark.parametrize(
    ("where", "columns"),
    [
        ("", "(SELECT count(*) FROM read_csv('/etc/passwd'))"),
        ("sample_id IN (SELECT content FROM read_text('/etc/passwd'))", ""),
        ("true) UNION ALL (SELECT file FROM glob('/*')", "sample_id"),
        ("", "(SELECT count(*) FROM '/etc/passwd')"),
        ("", "(SELECT count(*) FROM read_parquet('http://127.0.0.1:1/x.parquet'))"),
        ("", "(SELECT count(*) FROM duckdb_secrets())"),
        ("", "(SELECT count(*) FROM objects)"),
        ("", "getenv('HOME')"),
        ("true); COPY rows TO '/tmp/stolen.csv'; SELECT (1", ""),
        ("true); SET enable_external_access = true; SELECT (1", ""),
        ("true); INSTALL httpfs; SELECT (1", ""),
        ("true); ATTACH '/tmp/stolen.db'; SELECT (1", ""),
        ("selec", ""),
        ("no_such_column = 1", ""),
        ("sample_id", "*, ("),
    ],
)
async def test_sql_reaches_nothing_but_the_rows(where, columns):
    """Files, the network, this program's variables, settings and further statements are refused, as is what is no SQL."""
    objects, manifest = await version(EVENTS)
    with pytest.raises(ValueError, match=r"Permission Error|does not exist|no further statements|syntax error|not found|convert"):
        await asked(objects, manifest, where, columns)


async def test_some_rows_of_any_kind_need_few_shards():
    """A look at the first rows fetches the shards that hold them; a condition needs all."""
    _, manifest = await version(EVENTS)
    shards = manifest.shards_of(RowKind.ACCEPTED)
    assert [RowsAsked(limit=n).shards_needed(manifest, any_ids) for n in (8, 9)] == [[*shards[:1]], [*shards[:2]]]
    assert RowsAsked(limit=1, where="true").shards_needed(manifest, any_ids) == [*shards]


async def test_a_condition_on_ids_fetches_only_shards_that_may_hold_them():
    """The other shards need not even be there."""
    objects, manifest = await version(EVENTS)
    first, middle, last = manifest.shards_of(RowKind.ACCEPTED)
    for shard in (first, last):
        del objects.objects[shard.key]
    condition = f"sample_id BETWEEN '{middle.min_id}' AND '{middle.max_id}' AND revision = 0"
    assert len(await asked(objects, manifest, condition)) == middle.rows
    assert await asked(objects, manifest, "sample_id > 'z'") == []
    with pytest.raises(DamagedVersion):
        await asked(objects, manifest, "revision = 0")


async def test_memory_is_bounded():
    """A query that needs more than it may take is refused."""
    objects, manifest = await version(EVENTS)
    greedy = "(SELECT len(list(n.range)) FROM range(50000000) n)"
    with pytest.raises(ValueError, match="Out of Memory"):
        await asked(objects, manifest, columns=greedy, limits=QueryLimits(memory_bytes_max=32 * 1024 * 1024))


async def test_a_query_ends_in_time():
    """What would run for ever is interrupted."""
    objects, manifest = await version(EVENTS)
    endless = "(SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range % 7 = 3)"
    with pytest.raises(ValueError, match="took longer"):
        await asked(objects, manifest, columns=endless, limits=QueryLimits(seconds_max=0.3))


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "emptied"])
async def test_a_damaged_shard_is_named(damage):
    """Whatever happened to a shard, the answer is its name and not half of the rows."""
    objects, manifest = await version(EVENTS)
    shard = manifest.shards_of(RowKind.ACCEPTED)[1]
    body = objects.objects[shard.key]
    if damage == "missing":
        del objects.objects[shard.key]
    else:
        at = len(body) // 4
        flipped = body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]
        objects.objects[shard.key] = {"truncated": body[:-100], "flipped": flipped, "emptied": b""}[damage]
    with pytest.raises(DamagedVersion, match=shard.key):
        await asked(objects, manifest)


async def test_a_store_that_is_gone_is_not_a_damaged_version():
    """Callers can tell one from the other."""
    objects, manifest = await version(EVENTS)
    objects.down = True
    with pytest.raises(Stop):
        await asked(objects, manifest)
