"""A version's rows, page by page: each exactly once, in order, whatever the pages and shards."""

from dataclasses import replace

import pytest

from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_pages import PageLimits, SurveyPages
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.forgetting import Forgetting
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import BASE, CURRENT
from headrace.core.fine_tuning import is_held_out
from headrace.core.reasons import Reason
from headrace.core.rounds.surveys import Purpose, Survey, SurveyedSample, SurveyRequested
from headrace.core.samples import prompt_hash_of
from headrace.core.versions import DamagedVersion, RowKind
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, RETRACTED, dossier, place, retraction
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import accepted, cut_version, survey, survey_files, with_base

SMALL = CutSettings(shards=ShardLimits(shard_rows_max=8, group_rows_max=3), embeddings_wait_s=0)
IDS = [f"s{n:02}" for n in range(20)]


def pages_of(objects, folder, *, rows_max=5, bytes_max=1 << 20, disk=1 << 20) -> SurveyPages:
    versions = VersionStore(objects, folder)
    return SurveyPages(
        versions, ShardFiles(versions, folder, disk), survey_files(objects, folder), PageLimits(rows_max, bytes_max)
    )


async def walked(pages: SurveyPages, of: Survey) -> list[list[SurveyedSample]]:
    found: list[list[SurveyedSample]] = []
    asked: SurveyRequested | None = SurveyRequested(of)
    while asked is not None:
        page = await pages.read(asked)
        found.append(list(page.rows))
        asked = page.following
    return found


@pytest.mark.parametrize(("limits", "sizes"), [
    ({"rows_max": 5}, [5, 4, 5, 4, 2]),
    ({"rows_max": 100}, [9, 9, 2]),
    ({"bytes_max": 1}, [1] * 20),
    ({"disk": 1}, [5, 4, 5, 4, 2]),
])  # fmt: skip
async def test_every_row_is_in_one_page(tmp_path, limits, sizes):
    """Pages end at their limits and with their shard; together they hold each accepted row once, and no rejected one."""
    objects = FakeObjectStore()
    version = await cut_version(objects, [*accepted(*IDS), dossier("t", 0, Reason.NEAR_DUPLICATE)], SMALL)
    pages = await walked(pages_of(objects, tmp_path, **limits), survey(version.id))
    assert [len(page) for page in pages] == sizes
    assert [row.sample.id for page in pages for row in page] == IDS
    assert all(row.survey.version == version.id and row.sample == dossier(row.sample.id).sample for page in pages for row in page)


@pytest.mark.parametrize("rows_max", [1, 2, 5])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
async def test_forgetting_moves_no_row_of_a_survey_that_runs(tmp_path, at, rows_max):
    """Rows and a whole shard go between two pages, sent or not: no other row is missed or sent twice, by whatever process."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted("a", "b"), SMALL)
    version = await cut_version(objects, accepted(*IDS), SMALL)
    gone = ["a", "b", "s00", "s03", "s11"]
    cutter = VersionCutter(objects, SMALL)
    await cutter.staging.stage_retracted(DATASET, RETRACTED, [(retraction(each), place(n)) for n, each in enumerate(gone)])
    await cutter.cut(DATASET, "retracted")
    pages, found = pages_of(objects, tmp_path, rows_max=rows_max), []
    asked: SurveyRequested | None = SurveyRequested(survey(version.id))
    for _ in range(at):
        page = await pages.read(certain(asked))
        found += [row.sample.id for row in page.rows]
        asked = page.following
    for sample_id in gone:
        await Forgetting(VersionStore(objects), DATASET, sample_id).forget()
    for again in (pages, pages_of(objects, tmp_path / "other", rows_max=rows_max)):
        (tmp_path / "other").mkdir(exist_ok=True)
        rest, following = [], asked
        while following is not None:
            page = await again.read(following)
            rest += [row.sample.id for row in page.rows]
            following = page.following
        both = found + rest
        assert sorted(each for each in both if each not in gone) == [each for each in IDS if each not in gone]
        assert len(set(both)) == len(both)
    assert not set(rest) & set(gone)  # the process that knows the gaps; the other one learns of them within a second


async def test_a_page_that_an_earlier_release_asked_for_begins_where_it_says(tmp_path):
    """By the number of the row: a survey goes on over an update."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted(*IDS), SMALL)
    page = await pages_of(objects, tmp_path).read(SurveyRequested(survey(version.id), 0, 7))
    assert [row.sample.id for row in page.rows] == IDS[7:9]


async def test_the_disk_holds_few_shards(tmp_path):
    """What is not in use goes when the bound is reached; nothing is fetched twice below it."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted(*IDS), SMALL)
    await walked(pages_of(objects, tmp_path, disk=1), survey(version.id))
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    await walked(pages_of(objects, tmp_path), survey(version.id))
    assert len(list(tmp_path.glob("*.parquet"))) == 3


async def test_an_evaluation_takes_the_held_out_prompts_alone(tmp_path):
    """By the survey's own share and seed, as training does."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted(*IDS), SMALL)
    of = survey(version.id, purpose=Purpose.EVALUATION)
    found = [row.sample.id for page in await walked(pages_of(objects, tmp_path), of) for row in page]
    expected = [each for each in IDS if is_held_out(prompt_hash_of(dossier(each).sample), 0.3, "seed")]
    assert found == expected
    assert 0 < len(found) < 20


async def test_a_base_loss_goes_along_where_it_still_holds(tmp_path):
    """That of the survey's own base model and version is known; another version's, or none, is not."""
    objects = FakeObjectStore()
    version = await cut_version(objects, [with_base(dossier("a"), 2.5), with_base(dossier("b"), 2.5, "0"), dossier("c")])
    [rows] = await walked(pages_of(objects, tmp_path), survey(version.id))
    assert [[(known.role, known.loss_mean) for known in row.known] for row in rows] == [[(BASE, 2.5)], [], []]


async def test_what_the_base_said_when_it_measured_goes_along(tmp_path):
    """The first round's base is the version that admitted the rows, as the current one: its loss is not measured again."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted("a"))
    (admitted,) = dossier("a").signals
    first, later = (
        replace(survey(version.id), base_model="smol", base_model_version=number) for number in (admitted.model_version, "4")
    )
    [[row]], [[other]] = [await walked(pages_of(objects, tmp_path), of) for of in (first, later)]
    assert row.known == (admitted,)
    assert (admitted.role, other.known) == (CURRENT, ())


async def test_an_empty_version_is_one_empty_page(tmp_path):
    """There is nothing to send, and that is the last page."""
    objects = FakeObjectStore()
    version = await cut_version(objects, [dossier("a", 0, Reason.NEAR_DUPLICATE)])
    assert await walked(pages_of(objects, tmp_path), survey(version.id)) == [[]]


async def test_a_version_that_is_gone_or_damaged_is_named(tmp_path):
    """A shard that is missing or altered is named by its key, a version by its id."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted(*IDS))
    [shard] = version.manifest.shards_of(RowKind.ACCEPTED)
    body = objects.objects[shard.key]
    for damage in (body[:-1] + b"x", None):
        if damage is None:
            del objects.objects[shard.key]
        else:
            objects.objects[shard.key] = damage
        with pytest.raises(DamagedVersion, match=shard.key):
            await walked(pages_of(objects, tmp_path), survey(version.id))
    with pytest.raises(DamagedVersion, match="0" * 64):
        await walked(pages_of(objects, tmp_path), survey("0" * 64))
