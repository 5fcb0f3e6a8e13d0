"""From measured rows to the signal table: staged in any order, closed once, joined with densities that a kill does not change."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from headrace.adapters.rounds import density_blocks, measured_rows
from headrace.adapters.rounds.closed_set import build_prompt_vectors
from headrace.adapters.rounds.density_blocks import DensityBlocks, make_block
from headrace.adapters.rounds.measured_rows import MEASURED_ROWS, MeasuredRows
from headrace.adapters.rounds.selection_scan import select
from headrace.adapters.rounds.signal_table import SIGNAL_TABLE
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.rounds.survey_table import build_signal_table
from headrace.core.events import Stop
from headrace.core.rounds.pages import RowsMissing
from headrace.core.rounds.rules import SelectionRules
from headrace.core.rounds.stored import BadRoundId, densities_prefix, measured_prefix, survey_prefix
from headrace.core.rounds.surveys import DensityRequested
from headrace.core.versions import DamagedVersion
from tests.fakes.decisions import dossier
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import DIMENSIONS, accepted, cut_version, measured, placed, survey, vector_of

IDS = [f"s{n:02}" for n in range(25)]
SURVEY = survey()


def rows_of(ids, **more):
    return [measured(dossier(each).sample, SURVEY, loss=1.0 + n / 10, **more) for n, each in enumerate(ids)]


async def staged(objects, rows, batches=(7, 11)):
    """Rows in segments that overlap, as after a redelivery in other batches."""
    area, all_placed = MeasuredRows(objects), placed(rows)
    for start, end in [*itertools.pairwise((0, *batches, len(rows))), (3, min(9, len(rows)))]:
        if all_placed[start:end]:
            await area.stage(SURVEY, "measured/00001", all_placed[start:end])


async def with_densities(objects, folder, rows=25, k=2):
    folder.mkdir()
    closed = await build_prompt_vectors(objects, SURVEY, rows, folder)
    row = 0
    while row < len(closed):
        row += await make_block(objects, SURVEY, closed, row, k)
    return closed


async def table_of(objects, folder, rows=25, *, densities=True):
    folder.mkdir()
    built = await build_signal_table(objects, SURVEY, rows, folder, densities=densities)
    return built, pq.read_table(built.path).to_pylist() if built.path else []


async def densities_of(objects, of, folder):
    """As diversity makes them."""
    made = await DensityBlocks(SurveyFiles(lambda: _already(objects), folder), 60.0).make(DensityRequested(of, 0, 25, 2))
    blocks = await density_blocks.block_keys(objects, of)
    tables = list(density_blocks.read_densities(objects, of, blocks))
    return made, [row for table in tables for row in table["density"].to_pylist()]


async def _already(objects):
    return objects


async def test_densities_are_those_of_plain_prompts_where_the_survey_has_them(tmp_path):
    """The rows' other embeddings stay what refinement and the index take; a row without such text has no density."""
    objects, of = FakeObjectStore(), replace(SURVEY, plain_prompts=True)
    plain = [vector_of(f"plain {each}").tobytes() for each in IDS]
    rows = [replace(row, survey=of, plain_prompt=plain[n] if n else b"") for n, row in enumerate(rows_of(IDS))]
    await MeasuredRows(objects).stage(of, "measured/00001", placed(rows))
    (tmp_path / "built").mkdir()
    made, densities = await densities_of(objects, of, tmp_path / "built")
    assert (made.rows, made.complete, densities[0]) == (25, True, None)
    vectors = np.stack([np.frombuffer(each, "<f4") for each in plain[1:]])
    cosines = vectors @ vectors.T - 9 * np.eye(24)
    np.testing.assert_allclose(densities[1:], np.sort(cosines, axis=1)[:, -2:].mean(axis=1), atol=1e-6)
    async with SurveyFiles(lambda: _already(objects), tmp_path).of(of) as local:
        assert (await local.prompts(25)).vector_of("s03") == vector_of("s03").tobytes()


async def test_rows_staged_before_there_were_plain_prompts_have_none(tmp_path, monkeypatch):
    """A release that comes in the middle of a survey reads what the one before staged."""
    objects, of = FakeObjectStore(), replace(SURVEY, plain_prompts=True)
    with monkeypatch.context() as earlier:
        schema = MEASURED_ROWS.remove(MEASURED_ROWS.get_field_index("plain_prompt"))
        earlier.setattr(measured_rows, "MEASURED_ROWS", schema)
        await MeasuredRows(objects).stage(of, "measured/00001", placed([replace(row, survey=of) for row in rows_of(IDS)]))
    _, densities = await densities_of(objects, of, tmp_path)
    assert densities == [None] * 25


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(density_blocks, "QUERY_ROWS", 4)


@pytest.mark.usefixtures("small_blocks")
async def test_the_table_has_each_row_once_in_order_with_its_numbers(tmp_path):
    """Signals, scores, quality, density and neighbours of every row; the selection scan reads it."""
    objects = FakeObjectStore()
    await staged(objects, rows_of(IDS[::-1]))
    await with_densities(objects, tmp_path / "v")
    built, rows = await table_of(objects, tmp_path / "t")
    assert [row["sample_id"] for row in rows] == IDS
    assert built.rows == 25
    assert objects.objects[built.key] == built.path.read_bytes()
    last = rows[-1]
    assert (last["loss_post"], last["loss_pre"], last["quality"], last["prompt_factuality"]) == (1.0, 2.5, 6.5, 4.0)
    assert (last["not_made"], last["truncated"], last["prompt_tokens"], last["merge_key"]) == (None, False, 12, "s24-key")
    vectors = np.array([vector_of(each) for each in IDS], dtype=np.float64)
    products = vectors @ vectors.T - 3 * np.eye(25)
    for number, row in enumerate(rows):
        nearest = np.argsort(-products[number])[:2]
        assert [each["sample_id"] for each in row["neighbours"]] == [IDS[n] for n in nearest]
        assert row["density"] == pytest.approx(products[number][nearest].mean(), abs=1e-6)
    assert pq.read_schema(built.path).names == SIGNAL_TABLE.names
    assert select(built.files, SelectionRules(), tmp_path, {}).summary.rows == 25


@pytest.mark.usefixtures("small_blocks")
async def test_the_bytes_do_not_depend_on_batches_order_or_memory(tmp_path):
    """Other segments, other arrival, a sorter that spills: the same table, byte for byte."""
    rows = rows_of(IDS)
    hashes = set()
    for number, batches in enumerate([(7, 11), (1, 2), (24,)]):
        objects = FakeObjectStore()
        await staged(objects, rows, batches)
        await with_densities(objects, tmp_path / f"v{number}")
        (tmp_path / f"t{number}").mkdir()
        built = await build_signal_table(
            objects, SURVEY, 25, tmp_path / f"t{number}", densities=True, run_bytes=1 + number * 5_000
        )
        hashes.add(built.sha256)
    assert len(hashes) == 1


@pytest.mark.usefixtures("small_blocks")
async def test_a_kill_between_blocks_costs_what_was_in_hand(tmp_path):
    """Blocks that are there stay as they are, and the rest comes out as without the kill."""
    undisturbed, objects = FakeObjectStore(), FakeObjectStore()
    for each in (undisturbed, objects):
        await staged(each, rows_of(IDS))
    await with_densities(undisturbed, tmp_path / "u")
    writes = itertools.count()

    def killed(key):
        if key.startswith(densities_prefix(SURVEY)) and next(writes) == 3:
            raise Stop("killed")

    objects.before_write = killed
    with pytest.raises(Stop):
        await with_densities(objects, tmp_path / "a")
    objects.before_write = lambda _: None
    await with_densities(objects, tmp_path / "b")
    assert objects.objects == undisturbed.objects


async def test_missing_rows_are_counted_and_named(tmp_path):
    """The set stays open until they have come; then it closes, and what comes later is not in it."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted(*IDS))
    of = replace(SURVEY, version=version.id)
    area = MeasuredRows(objects)
    await area.stage(of, "measured/00001", placed(rows_of(IDS[:20])))
    with pytest.raises(RowsMissing, match=r"20 of 25 rows were measured; missing are s20, s21, s22, s23, s24$"):
        await build_signal_table(objects, of, 25, tmp_path, densities=False)
    await area.stage(of, "measured/00001", placed(rows_of(IDS[20:]), first=20))
    assert (await build_signal_table(objects, of, 25, tmp_path, densities=False)).rows == 25
    await area.stage(of, "measured/00001", placed(rows_of(["late"]), first=25))
    assert (await build_signal_table(objects, of, 25, tmp_path, densities=False)).rows == 25
    del objects.objects[version.manifest_key]
    with pytest.raises(RowsMissing, match="which are missing cannot be told"):
        await build_signal_table(objects, replace(of, round_id="r2"), 25, tmp_path, densities=False)


async def test_rows_without_signals_or_embeddings_are_rows(tmp_path):
    """They keep their place, say why, and nobody is their neighbour; unusable vectors count as none."""
    objects = FakeObjectStore()
    rows = rows_of(IDS[:6])
    rows[1] = measured(dossier(IDS[1]).sample, SURVEY, error="too long")
    for number, vector in ((2, np.zeros(DIMENSIONS)), (3, np.full(DIMENSIONS, np.nan)), (5, np.ones(3))):
        rows[number] = measured(dossier(IDS[number]).sample, SURVEY, vector=vector)
    rows[4] = replace(rows[4], signals=())
    await staged(objects, rows)
    closed = await with_densities(objects, tmp_path / "v", 6, k=1)
    assert closed.names["place"].to_pylist() == [0, -1, -1, -1, 1, -1]
    _, found = await table_of(objects, tmp_path / "t", 6)
    assert [row["not_made"] for row in found] == [None, "too long", None, None, "no signals", None]
    assert [row["density"] is None for row in found] == [False, True, True, True, False, True]
    assert [each["sample_id"] for each in found[0]["neighbours"]] == [IDS[4]]
    assert (found[1]["loss_post"], found[1]["quality"], found[4]["truncated"]) == (None, None, None)
    assert closed.vector_of(IDS[0]) == vector_of(IDS[0]).tobytes()
    assert [closed.vector_of(each) for each in (IDS[1], "nobody", "")] == [b"", b"", b""]


async def test_a_set_without_embeddings_or_without_rows_has_a_table(tmp_path):
    """No densities, no neighbours; and of no rows no file."""
    objects = FakeObjectStore()
    await staged(objects, rows_of(IDS[:3], error="gone"))
    await with_densities(objects, tmp_path / "v", 3)
    _, found = await table_of(objects, tmp_path / "t", 3)
    assert [row["density"] for row in found] == [None] * 3
    empty = FakeObjectStore()
    built, found = await table_of(empty, tmp_path / "e", 0)
    assert (built.rows, built.files, found) == (0, (), [])
    assert select(built.files, SelectionRules(), tmp_path, {}).summary.rows == 0


async def test_vectors_that_are_no_units_are_scaled(tmp_path):
    """A cosine is wanted, not a product."""
    objects = FakeObjectStore()
    rows = [measured(dossier(each).sample, SURVEY, vector=vector_of(each) * 3) for each in IDS[:3]]
    await staged(objects, rows)
    closed = await with_densities(objects, tmp_path / "v", 3)
    np.testing.assert_allclose(np.linalg.norm(closed.vectors, axis=1), 1.0, atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
async def test_damaged_and_missing_objects_are_named(tmp_path):
    """A segment that is cut off, a block that is gone or belongs to other rows: the message says which."""
    objects = FakeObjectStore()
    await staged(objects, rows_of(IDS))
    await with_densities(objects, tmp_path / "v")
    blocks = sorted(key for key in objects.objects if key.startswith(densities_prefix(SURVEY)))
    kept = dict(objects.objects)
    for change in ({blocks[2]: b""}, {blocks[-1]: b""}, {blocks[1]: kept[blocks[0]]}):
        objects.objects = {key: body for key, body in (kept | change).items() if body}
        with pytest.raises(DamagedVersion, match=densities_prefix(SURVEY)):
            await build_signal_table(objects, SURVEY, 25, tmp_path, densities=True)
    segment = next(key for key in kept if key.startswith(measured_prefix(SURVEY)))
    objects.objects = {**kept, segment: kept[segment][:100]}
    with pytest.raises(DamagedVersion, match=segment):
        await build_signal_table(objects, SURVEY, 25, tmp_path, densities=False)
    closed = f"{survey_prefix(SURVEY)}closed.json"
    for body in (b"no json", b"[1]"):
        objects.objects = {**kept, closed: body}
        with pytest.raises(DamagedVersion, match=closed):
            await build_signal_table(objects, SURVEY, 25, tmp_path, densities=False)


def test_a_round_id_that_is_no_name_is_no_place():
    """It would become part of a key."""
    for name in ("../x", "", "a/b", "x" * 200, "ä"):
        with pytest.raises(BadRoundId):
            survey_prefix(replace(SURVEY, round_id=name))
