"""The base's losses from an earlier round's table: rows that stayed as they were are measured by it once, whatever the round."""

import json
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.round_selection import RoundSelections
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_pages import PageLimits, SurveyPages
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import BASE, Dossier
from headrace.core.events import Emit, Event, Position, Stop
from headrace.core.rounds.facts import RowsSelected
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.stored import signals_key
from headrace.core.rounds.surveys import MeasuredSample, SelectionRequested, Survey, SurveyedSample, SurveyRequested
from headrace.core.samples import Message, content_hash_of
from headrace.core.staged import Place
from headrace.core.topics import SURVEYED
from services.scoring.handlers import Scoring
from services.scoring.surveying import survey as score
from tests.fakes.decisions import dossier
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.signal_model import UNMEASURABLE, FakeSignalModel, FakeSignalModels
from tests.fakes.surveys import cut_version, survey, survey_files, with_base

RULES = RoundPolicy.model_validate({"sparse": {"enabled": False}, "hard": {"m": 0.5}}).canonical_json()
IDS = [f"s{n:02}" for n in range(20)]


def says(sample_id: str, answer: str = "", revision: int = 0) -> Dossier:
    """A row that was admitted under version 3 of the model, with an answer of its own."""
    of = dossier(sample_id, revision)
    messages = (Message("user", f"What is {sample_id}?"), Message("assistant", answer or f"It is {sample_id}."))
    sample = replace(of.sample, messages=messages, content_hash=content_hash_of(messages, "", of.sample.reference))
    return replace(of, sample=sample)


class World:
    """A store, and the models that a round asks; `base` is told which rows it measures."""

    def __init__(self, folder):
        self.folder = folder
        self.objects = FakeObjectStore()
        self.base = FakeSignalModel("smol-base", "1")
        self.models = FakeSignalModels([FakeSignalModel("smol", "4"), FakeSignalModel("smol", "5"), self.base])

    async def pages(self, of: Survey, rows_max: int = 6) -> list[SurveyedSample]:
        folder = self.folder / of.round_id
        folder.mkdir(exist_ok=True)
        versions = VersionStore(self.objects, folder)
        files = survey_files(self.objects, folder)
        pages = SurveyPages(versions, ShardFiles(versions, folder, 1 << 20), files, PageLimits(rows_max, 1 << 20))
        rows: list[SurveyedSample] = []
        asked: SurveyRequested | None = SurveyRequested(of)
        while asked is not None:
            page = await pages.read(asked)
            rows += page.rows
            asked = page.following
        return rows

    async def surveyed(self, of: Survey) -> tuple[list[str], RowsSelected, list[dict[str, Any]]]:
        """A round up to its selection: what the base was asked for, the selection, and the table."""
        self.base.calls.clear()
        rows = await self.pages(of)
        events = [
            Event(row.sample.id, SURVEYED.name, row.sample.key, row, 1.0, Position(SURVEYED.name, 0, n))
            for n, row in enumerate(rows)
        ]
        results = await score(events, Scoring(lambda _: None, self.models))
        sent = [send.body for result in results if isinstance(result, Emit) for send in result.sends]
        measured = [(body, Place("measured/00000", n, 1.0)) for n, body in enumerate(sent) if isinstance(body, MeasuredSample)]
        await MeasuredRows(self.objects).stage(of, "measured/00000", measured)
        selected = await RoundSelections(self.objects, self.folder).select(SelectionRequested(of, len(rows), RULES))
        path = self.folder / "table.parquet"
        await self.objects.fetch(signals_key(of), path, bytes_max=1 << 30)
        return sorted(each for call in self.base.calls for each in call), selected, pq.read_table(path).to_pylist()


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


async def first_round(world: World) -> None:
    version = await cut_version(world.objects, [says(each) for each in IDS])
    asked, _, _ = await world.surveyed(survey(version.id))
    assert asked == IDS


def later(version: str, round_id: str = "r2", base_from: str = "r1") -> Survey:
    return replace(survey(version), round_id=round_id, model_version="5", base_from=base_from)


async def test_a_second_round_asks_the_base_for_what_is_new_alone(world):
    """Rows that changed and rows that came are measured by it; table and selection are those of a round that asks for all."""
    await first_round(world)
    changed = [says("s03", "Otherwise.", 1), says("s11", "Quite otherwise.", 1)]
    version = await cut_version(world.objects, [*changed, says("s05a"), says("t")])
    asked, selected, table = await world.surveyed(later(version.id))
    assert asked == ["s03", "s05a", "s11", "t"]
    every, alike, whole = await world.surveyed(later(version.id, "r3", ""))
    assert len(every) == 22
    assert table == whole
    assert replace(selected, thresholds_json="") == replace(alike, thresholds_json="")
    assert json.loads(selected.thresholds_json) == json.loads(alike.thresholds_json)
    assert selected.hard > 0
    third, _, _ = await world.surveyed(later(version.id, "r4", "r2"))
    assert third == []


async def test_the_same_content_under_another_revision_still_holds(world):
    """As when an undone round brings a row back: what counts is what it says."""
    await first_round(world)
    version = await cut_version(world.objects, [says("s03", revision=7)])
    assert (await world.surveyed(later(version.id)))[0] == []


async def test_what_the_earlier_round_could_not_measure_is_measured(world):
    """A row without signals then has no loss in the table."""
    version = await cut_version(world.objects, [says("a"), says("b", UNMEASURABLE)])
    await world.surveyed(survey(version.id))
    [a, b] = await world.pages(later(version.id))
    assert [(each.role, each.model_version, each.loss_std) for each in a.known] == [(BASE, "1", None)]
    assert b.known == ()


async def test_what_the_row_knows_itself_comes_first(world):
    """The loss in its own dossier is whole; the table is not looked at for it."""
    await first_round(world)
    version = await cut_version(world.objects, [with_base(says("s03", revision=1), 2.5)])
    known = {row.sample.id: row.known for row in await world.pages(later(version.id))}
    assert (known["s03"][0].loss_mean, known["s03"][0].prompt_tokens) == (2.5, 12)
    assert known["s04"][0].prompt_tokens == 0


@pytest.mark.parametrize("harm", ["collected", "damaged"])
async def test_without_the_earlier_table_the_base_measures_as_ever(world, harm):
    """Where it was collected, or cannot be read, nothing is held up."""
    await first_round(world)
    version = await cut_version(world.objects, [says("t")])
    key = signals_key(survey())
    body = world.objects.objects.pop(key)
    if harm == "damaged":
        world.objects.objects[key] = body[:-10]
    assert (await world.surveyed(later(version.id)))[0] == [*IDS, "t"]


async def test_a_store_that_is_gone_is_waited_for(world):
    """That is no reason to measure everything again."""
    await first_round(world)
    version = await cut_version(world.objects, [says("t")])
    world.objects.down = True
    with pytest.raises(Stop):
        await world.pages(later(version.id))
