"""The commands on dataset versions, on a store in memory: what they print, for people and for scripts, and their exit codes."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.cli.main import app
from headrace.core.dossiers import Cost
from headrace.core.reasons import Reason
from headrace.core.samples import Origin, OriginKind
from headrace.core.versions import RowKind, Version
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, RETRACTED, dossier, indexed, place, retraction
from tests.fakes.object_store import FakeObjectStore


def made(sample_id, revision=0, reason=Reason.ACCEPTED, *parents):
    kind = OriginKind.REFINED if parents else OriginKind.INGESTED
    one = replace(dossier(sample_id, revision, reason), costs=(Cost("scoring", 0.5, 90, 10, 0.25, "EUR"), Cost("judge")))
    return replace(one, sample=replace(one.sample, origin=Origin(kind, parents, recipe="r" if parents else "")))


class World:
    """Two versions: s0 to s9 accepted, then s3 revised, t refined from s4 and u, and one rejected."""

    first: Version
    second: Version

    def __init__(self) -> None:
        self.objects = FakeObjectStore()
        limits = ShardLimits(shard_rows_max=4, group_rows_max=2)
        self.cutter = VersionCutter(self.objects, CutSettings(shards=limits, embeddings_wait_s=0))

    async def cut(self, first, *dossiers):
        rows = [(each, place(first + n)) for n, each in enumerate(dossiers)]
        await self.cutter.staging.stage_decided(DATASET, DECIDED, rows)
        return certain(await self.cutter.cut(DATASET, f"r{first}")).version

    @classmethod
    def of_two(cls) -> "World":
        async def fill() -> World:
            world = cls()
            await world.cutter.staging.stage_indexed(DATASET, INDEXED, [(indexed("s4"), place(5, INDEXED))])
            world.first = await world.cut(0, *(made(f"s{n}") for n in range(10)))
            rest = made("s3", 1), made("t", 0, Reason.ACCEPTED, "s4", "u"), made("u", 0, Reason.TOO_DENSE, "s3")
            world.second = await world.cut(20, *rest)
            return world

        return asyncio.run(fill())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path) -> World:
    world = World.of_two()

    @asynccontextmanager
    async def open_versions():
        yield VersionStore(world.objects)

    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "no-stack"))
    for module in ("dataset_versions", "dataset_history", "dataset_rows"):
        monkeypatch.setattr(f"headrace.cli.{module}.open_versions", open_versions)
    return world


def headrace(*arguments, fails=False):
    done = CliRunner().invoke(app, ["dataset", *arguments])
    assert done.exit_code == int(fails), done.output
    return done.output


def test_log_says_what_changed(world):
    """The latest first, with tags, and the difference to the version before."""
    headrace("tag", DATASET, "before-refining", "--version", "1")
    latest, first = json.loads(headrace("log", DATASET, "--json"))
    assert (latest["sequence"], latest["parent"], latest["change"]["accepted"], latest["reasons"]) == (
        2, world.first.id, 1, {"accepted": 2, "too_dense": 1},
    )  # fmt: skip
    assert (first["tags"], first["change"]["accepted"]) == (["before-refining"], 10)
    assert len(json.loads(headrace("log", DATASET, "--limit", "1", "--json"))) == 1
    assert "before-refining" in headrace("log", DATASET)


def test_diff_names_samples_and_reasons(world):
    """Versions are named in any way; people get a line each, scripts an object a line and the totals last."""
    told = headrace("diff", DATASET, "main~1", "2")
    assert "revised  s3 0 -> 1: accepted under policy p1, signals of smol 3; ingested" in told
    assert "added    t: accepted under policy p1, signals of smol 3; refined from s4, u by recipe r" in told
    assert "1 added, 0 removed, 1 revised" in told
    *changes, totals = map(json.loads, headrace("diff", DATASET, "1", "--json").splitlines())
    assert [(each["change"], each["sample_id"]) for each in changes] == [("revised", "s3"), ("added", "t")]
    assert totals["counts"] == {"added": 1, "removed": 0, "revised": 1}
    assert totals["reasons"] == {"accepted": 2, "too_dense": 1}
    assert "and 1 more" in headrace("diff", DATASET, "1", "2", "--limit", "1")
    assert "no version" in headrace("diff", DATASET, "nowhere", fails=True)


def test_tags_are_made_listed_and_deleted(world):
    """A tag never moves, is accepted where a version is, and can be taken away."""
    headrace("tag", DATASET, "v1", "--version", "main~1")
    assert "v1" in headrace("tag", DATASET)
    assert world.first.id in headrace("show", DATASET, "--version", "v1")
    assert "never moves" in headrace("tag", DATASET, "v1", fails=True)
    assert "cannot be a tag" in headrace("tag", DATASET, "main", fails=True)
    assert "is gone" in headrace("tag", DATASET, "v1", "--delete")
    assert json.loads(headrace("tag", DATASET, "--json")) == []
    assert "no tag v1" in headrace("tag", DATASET, "v1", "--delete", fails=True)


def test_rows_by_sql(world):
    """A table for people, an object a line for scripts; what is wrong with the SQL is said in a line."""
    assert "s3" in headrace("rows", DATASET, "--where", "revision > 0")
    rows = [json.loads(line) for line in headrace("rows", DATASET, "--where", "sample_id = 't'", "--json").splitlines()]
    assert [(row["sample_id"], row["origin_parent_ids"], row["messages"][-1]["content"]) for row in rows] == [
        ("t", ["s4", "u"], "42")
    ]
    spent = headrace("rows", DATASET, "--columns", "sum(list_sum([c.money FOR c IN costs])) AS money", "--json")
    assert json.loads(spent) == {"money": 2.75}
    assert json.loads(headrace("rows", DATASET, "--rejected", "--columns", "count(*) AS n", "--json")) == {"n": 1}
    assert "Permission Error" in headrace(
        "rows", DATASET, "--where", "(SELECT 1 FROM read_text('/etc/hostname')) = 1", fails=True
    )
    assert "no rows" in headrace("rows", DATASET, "--where", "false")


def test_lineage_goes_back_to_what_a_sample_was_made_of(world):
    """Parents and theirs, decisions, models, and the records that carried them; a cycle ends."""
    found = json.loads(headrace("lineage", DATASET, "t", "--json"))
    assert [(each["sample_id"], each["depth"], each["parents"]) for each in found["ancestors"]] == [
        ("t", 0, ["s4", "u"]), ("s4", 1, []), ("u", 1, ["s3"]), ("s3", 2, []),
    ]  # fmt: skip
    t, s4, u, _ = found["ancestors"]
    assert t["decided"][0]["carried"] == {"topic": "headrace.sample.decided", "partition": 2, "offset": 21}
    assert (t["decided"][0]["first_version"], s4["decided"][0]["first_version"]) == (2, 1)
    assert s4["embedded"] == [["smol 3", {"topic": "headrace.sample.indexed", "partition": 1, "offset": 5}]]
    assert u["decided"][0]["row"]["reason"] == "too_dense"
    told = headrace("lineage", DATASET, "t")
    assert "revision 0 rejected (too_dense) under policy p1" in told
    assert not json.loads(headrace("lineage", DATASET, "t", "--limit", "2", "--json"))["complete"]
    assert "no decision" in headrace("lineage", DATASET, "nobody", fails=True)


def test_of_a_retracted_sample_the_rule_is_told(world):
    """Reason and note, who asked, the record, and the last version that had it; and the rules themselves are rows."""
    assert "no rows" in headrace("rows", DATASET, "--retractions")

    async def retract() -> None:
        await world.cutter.staging.stage_retracted(DATASET, RETRACTED, [(retraction("s5", 3), place(7, RETRACTED))])
        certain(await world.cutter.cut(DATASET, "r40"))

    asyncio.run(retract())
    [found] = json.loads(headrace("lineage", DATASET, "s5", "--json"))["ancestors"]
    rule = found["taken_back"][0]
    assert (found["decided"], found["last_version"], rule["revision"], rule["carried"]["offset"]) == ([], 2, 3, 7)
    told = " ".join(headrace("lineage", DATASET, "s5").split())
    assert "taken back up to revision 3:" in told
    assert "version 2 was the last that had it" in told
    [row] = [json.loads(line) for line in headrace("rows", DATASET, "--retractions", "--json").splitlines()]
    assert (row["sample_id"], row["reason"]) == ("s5", rule["reason"])
    assert "s5" in headrace("rows", DATASET, "--retractions", "--where", "revision = 3")
    assert f"retracted: {rule['reason']}" in headrace("diff", DATASET, "2", "3")


def test_a_narrow_table_shows_whole_ids(world, monkeypatch):
    """In a pipe, which counts as 80 columns, ids are broken over lines, never cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    long_id = "".join(f"{number:02}-" for number in range(20))

    async def add() -> None:
        await world.cut(60, made(long_id))

    asyncio.run(add())
    lines = headrace("rows", DATASET, "--where", f"sample_id = '{long_id}'").splitlines()
    assert "".join(line.split()[0] for line in lines[1:]) == long_id


def test_verify_names_every_damaged_object(world):
    """It goes on after the first, ends with 1, and says nothing of what is sound."""
    assert "0 damaged" in headrace("verify", DATASET, "--history")
    shards = world.second.manifest.shards_of(RowKind.ACCEPTED)
    body = world.objects.objects[shards[0].key]
    world.objects.objects[shards[0].key] = body[:99] + bytes([body[99] ^ 1]) + body[100:]
    del world.objects.objects[shards[1].key]
    told = headrace("verify", DATASET, fails=True)
    assert shards[0].key in told
    assert shards[1].key in told
    assert shards[2].key not in told
    del world.objects.objects[world.first.manifest_key]
    damaged = json.loads(headrace("verify", DATASET, "--history", "--json", fails=True))["damaged"]
    assert [line.partition(":")[0] for line in damaged] == [shards[0].key, shards[1].key, world.first.manifest_key]


def test_checkout_makes_a_folder_of_one_version(world, tmp_path):
    """Broken off it goes on; another version's files are not mixed in; kinds without rows give a file without rows."""
    folder = tmp_path / "rows"
    headrace("checkout", DATASET, str(folder), "--version", "1", "--kind", "accepted", "--kind", "rejected")
    assert pq.read_table(folder / "rejected-00000-of-00001.parquet").num_rows == 0
    files = sorted(folder.glob("accepted-*.parquet"))
    assert sum(pq.read_table(file).num_rows for file in files) == 10
    files[0].write_bytes(b"cut short")
    headrace("checkout", DATASET, str(folder), "--version", "1")
    assert sum(pq.read_table(file).num_rows for file in files) == 10
    assert "belongs to another version" in headrace("checkout", DATASET, str(folder), "--version", "2", fails=True)


def test_show_says_what_a_version_cost_and_where_it_came_from(world):
    """Recipes by name, costs by stage; what is unknown is said to be."""
    told = headrace("show", DATASET)
    assert "recipes          r 2" in told
    assert "cost of scoring  6.5 s, 1,300 tokens, 3.25 EUR" in told
    assert "time unknown for 13" in told
