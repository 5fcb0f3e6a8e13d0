"""From a selection to rewrites and evictions: the samples with their numbers, hints from neighbours, nobody who was retracted."""

import itertools
import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pyarrow.parquet as pq
import pytest

from headrace.adapters.rounds.closed_set import build_prompt_vectors
from headrace.adapters.rounds.density_blocks import make_block
from headrace.adapters.rounds.evictions import Evictions
from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.refining_pages import RefiningPages
from headrace.adapters.rounds.round_selection import RoundSelections
from headrace.adapters.rounds.selection_scan import select
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.rounds.survey_table import build_signal_table
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.core.budgets import Spend
from headrace.core.dossiers import Gate, Judgement
from headrace.core.fine_tuning import is_held_out
from headrace.core.rounds.facts import Ending, RewriteEnded
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.revisions import identity_of_rewrite
from headrace.core.rounds.rules import Axis, AxisRule, SelectionRules
from headrace.core.rounds.stored import selection_key, signals_key, survey_prefix, thresholds_key
from headrace.core.rounds.surveys import EvictionRequested, RefiningRequested, SelectionRequested, Survey
from headrace.core.rounds.thresholds import TooManyRows
from headrace.core.samples import prompt_hash_of
from headrace.core.versions import DamagedVersion
from tests.fakes.decisions import DATASET, RETRACTED, dossier, place, retraction
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import accepted, cut_version, measured, placed, survey, vector_of

IDS = [f"s{n:02}" for n in range(24)]
LONELY = "s05"
HARD = "s10"
SMALL = CutSettings(shards=ShardLimits(shard_rows_max=8, group_rows_max=3), embeddings_wait_s=0)
GATE = Gate("headrace", "generated", 0.7, "drop")
ROLES = (Spend(300, None, "answerer"),)
RULES = SelectionRules(hard=AxisRule(m=2.0), sparse=AxisRule(m=2.0), low_quality=None, has_base=False)


def vector(sample_id: str) -> np.ndarray:
    """Pairs of near copies around few middles; one row is far from everything."""
    if sample_id == LONELY:
        return -vector_of("middle")
    number = IDS.index(sample_id)
    moved = vector_of("middle") + 0.3 * vector_of(f"pair {number // 2}") + 0.01 * vector_of(sample_id)
    unit: np.ndarray = moved / np.linalg.norm(moved)
    return unit


class World:
    """A round that has got as far as its selection."""

    def __init__(self, folder):
        self.folder = folder
        self.objects = FakeObjectStore()
        self.survey = survey()
        self.processes = itertools.count()

    async def begin(self):
        version = await cut_version(self.objects, accepted(*IDS), SMALL)
        self.survey = survey(version.id)
        rows = [
            measured(dossier(each).sample, self.survey, loss=9.0 if each == HARD else 1.0, vector=vector(each)) for each in IDS
        ]
        await MeasuredRows(self.objects).stage(self.survey, "measured/00001", placed(rows))
        for name in ("v", "t", "shards", "surveys", "versions"):
            (self.folder / name).mkdir()
        closed = await build_prompt_vectors(self.objects, self.survey, 24, self.folder / "v")
        await make_block(self.objects, self.survey, closed, 0, 2)
        table = await build_signal_table(self.objects, self.survey, 24, self.folder / "t", densities=True)
        rows = pq.read_table(table.path).to_pylist()
        self.neighbours = {row["sample_id"]: [each["sample_id"] for each in row["neighbours"]] for row in rows}
        selection = select(table.files, RULES, self.folder / "t", {})
        assert selection.selected
        await self.objects.put_file(selection_key(self.survey), selection.selected.path)
        await self.objects.put(thresholds_key(self.survey), selection.summary.canonical_json().encode())

    async def opened(self):
        return self.objects

    @property
    def surveys(self) -> SurveyFiles:
        folder = self.folder / "surveys" / f"{next(self.processes)}"
        folder.mkdir()
        return SurveyFiles(self.opened, folder)

    @property
    def pages(self) -> RefiningPages:
        versions = VersionStore(self.objects, self.folder / "versions")
        return RefiningPages(versions, ShardFiles(versions, self.folder / "shards", 1 << 20), self.surveys, 10)

    async def evicted(self, rows: int, rows_max: int = 100, evictions_max: int = 50) -> list[tuple[str, int]]:
        return await Evictions(self.surveys, rows_max, evictions_max).read(EvictionRequested(self.survey, rows))

    async def retract(self, *ids: str) -> None:
        rows = [(retraction(each), place(n, RETRACTED)) for n, each in enumerate(ids)]
        await StagingArea(self.objects).stage_retracted(DATASET, RETRACTED, rows)


@pytest.fixture
async def world(tmp_path) -> World:
    made = World(tmp_path)
    await made.begin()
    return made


def refining(of: Survey, first: int = 0, rows: int = 10) -> RefiningRequested:
    return RefiningRequested(of, first, rows, 3, 7, 500, 0.5, gate=GATE, roles_allowed_each=ROLES)


async def test_of_two_rewrites_of_a_sample_one_stands_beside_it(tmp_path):
    """Mode middo_compat: hard and of low quality at once; what collapses is what leaves, unless it was taken back."""
    objects = FakeObjectStore()
    version = await cut_version(objects, accepted(*IDS), SMALL)
    of = survey(version.id)
    poor = Judgement("logits", "ruler", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    rows = [measured(dossier(each).sample, of, loss=9.0 if each == HARD else 1.0) for each in IDS]
    rows = [
        replace(row, merge_key="ab" * 32 if row.sample_id in {"s01", "s02"} else sha256(row.sample_id.encode()).hexdigest())
        for row in rows
    ]
    hard = rows[IDS.index(HARD)]
    signals = (replace(hard.signals[0], judgement=poor), replace(hard.signals[1], loss_mean=9.0))
    rows[IDS.index(HARD)] = replace(hard, signals=signals)
    await MeasuredRows(objects).stage(of, "measured/00001", placed(rows))
    policy = RoundPolicy.model_validate({"mode": "middo_compat", "sparse": {"enabled": False}})
    told = await RoundSelections(objects, tmp_path).select(SelectionRequested(of, 24, policy.canonical_json()))
    assert (told.hard, told.low_quality, told.collapsed) == (1, 1, 1)

    async def opened():
        return objects

    for name in ("shards", "surveys"):
        (tmp_path / name).mkdir()
    versions, surveys = VersionStore(objects, tmp_path), SurveyFiles(opened, tmp_path / "surveys")
    page = await RefiningPages(versions, ShardFiles(versions, tmp_path / "shards", 1 << 20), surveys, 10).read(refining(of))
    assert [(each.axis, each.adds, each.ruler_hash) for each in page.rewrites] == [
        ("hard", True, "ruler"), ("low_quality", False, "ruler"),
    ]  # fmt: skip
    names = [identity_of_rewrite(each) for each in page.rewrites]
    assert names[0][0].startswith("hard-")
    assert names[1][0] == HARD
    assert await Evictions(surveys, 100, 50).read(EvictionRequested(of, 1)) == [("s02", 0)]
    await StagingArea(objects).stage_retracted(DATASET, RETRACTED, [(retraction("s02"), place(0, RETRACTED))])
    assert await Evictions(surveys, 100, 50).read(EvictionRequested(of, 1)) == []


async def test_a_rewrite_carries_all_it_has_to_beat(world):
    """The sample itself, its numbers and embedding, the bound, and what it may spend; hints on the sparse axis alone."""
    page = await world.pages.read(refining(world.survey))
    sparse, hard = page.rewrites
    assert (sparse.axis, sparse.parent, hard.axis, hard.parent) == (
        "sparse",
        dossier(LONELY).sample,
        "hard",
        dossier(HARD).sample,
    )
    assert (page.ended, page.complete) == ((), True)
    assert (hard.attempt, hard.attempts_max, hard.round_id, hard.round_ordinal) == (1, 3, "r1", 7)
    assert (hard.tokens_allowed, hard.money_allowed, hard.model, hard.model_version) == (500, 0.5, "smol", "4")
    assert (hard.parent_loss, hard.parent_quality, hard.hints) == (9.0, 6.5, ())
    assert hard.gate == sparse.gate == GATE
    assert hard.roles_allowed == sparse.roles_allowed == ROLES
    assert 1.0 < hard.bound < 9.0
    assert hard.parent_density is not None
    np.testing.assert_allclose(np.frombuffer(hard.parent_embedding, "<f4"), vector(HARD), atol=1e-6)
    assert sparse.parent_density is not None
    assert sparse.parent_density < sparse.bound
    assert len(sparse.hints) == 2
    assert all(hint.startswith("What is s") and len(hint) == 10 for hint in sparse.hints)


async def test_pages_are_consecutive_and_the_last_one_says_so(world):
    """Each row of the selection is in one page."""
    first, second = [await world.pages.read(refining(world.survey, first, 1)) for first in (0, 1)]
    assert [(page.rewrites[0].axis, page.complete) for page in (first, second)] == [("sparse", False), ("hard", True)]
    beyond = await world.pages.read(refining(world.survey, 2, 1))
    assert (beyond.rewrites, beyond.ended, beyond.complete) == ((), (), True)


async def test_of_a_page_those_that_were_put_off_are_asked_for_again(world):
    """By their rows of the selection, which each rewrite knows."""
    whole = await world.pages.read(refining(world.survey))
    assert [each.row for each in whole.rewrites] == [0, 1]
    again = await world.pages.read(replace(refining(world.survey), only_rows=(1,)))
    assert (again.rewrites, again.complete) == (whole.rewrites[1:], True)


async def test_who_was_retracted_is_neither_rewritten_nor_a_hint(world):
    """Its rewrite ends as not made; its prompt is shown to nobody."""
    shown = (await world.pages.read(refining(world.survey))).rewrites[0]
    await world.retract(HARD, world.neighbours[LONELY][0])
    page = await world.pages.read(refining(world.survey))
    [sparse] = page.rewrites
    assert page.ended == (RewriteEnded(Axis.HARD, HARD, Ending.NOT_MADE, "retracted", 0, row=1),)
    assert len(sparse.hints) == len(shown.hints) - 1


async def test_nobody_is_shown_a_held_out_prompt(world):
    """As a hint its near variants would be trained on, and the verdict's ruler would leak."""
    near = [dossier(each).sample for each in world.neighbours[LONELY]]
    seeds = {
        held: next(
            seed
            for seed in map(str, itertools.count())
            if [is_held_out(prompt_hash_of(each), 0.5, seed) for each in near] == [held, held]
        )
        for held in (False, True)
    }
    shown = {}
    for held, seed in seeds.items():
        asked = refining(replace(world.survey, held_out_share=0.5, held_out_seed=seed))
        shown[held] = (await world.pages.read(asked)).rewrites[0].hints
    assert [len(shown[held]) for held in (False, True)] == [2, 0]


async def test_what_is_missing_or_damaged_is_named(world):
    """The selection, the thresholds, the table: each by its key."""
    kept = dict(world.objects.objects)
    for key in (selection_key(world.survey), thresholds_key(world.survey), signals_key(world.survey)):
        world.objects.objects = {name: body for name, body in kept.items() if name != key}
        with pytest.raises(DamagedVersion, match=key):
            await world.pages.read(refining(world.survey))
    for body in (b"{}", b"x", json.dumps({"axes": []}).encode()):
        world.objects.objects = kept | {thresholds_key(world.survey): body}
        with pytest.raises(DamagedVersion, match=thresholds_key(world.survey)):
            await world.pages.read(refining(world.survey))


async def test_evictions_take_one_of_each_near_pair(world):
    """Never both, never a selected row, never a held-out prompt; fewer where no more are redundant."""
    everything = await world.evicted(100)
    leaving = [sample_id for sample_id, _ in everything]
    assert 0 < len(leaving) < 12
    assert len({IDS.index(each) // 2 for each in leaving}) == len(leaving)
    assert not {LONELY, HARD} & set(leaving)
    assert not [each for each in leaving if is_held_out(prompt_hash_of(dossier(each).sample), 0.3, "seed")]
    assert await world.evicted(2) == everything[:2]
    assert await world.evicted(0) == []
    await world.retract(leaving[0])
    assert leaving[0] not in [sample_id for sample_id, _ in await world.evicted(100)]


async def test_evictions_have_limits(world):
    """Too long a table, or too many rows to leave at once, is refused with the setting to raise; no table, nothing to evict."""
    with pytest.raises(TooManyRows, match="HEADRACE_DATASETS_EVICTION_ROWS_MAX"):
        await world.evicted(1, rows_max=5)
    with pytest.raises(TooManyRows, match=r"2 rows are to leave.*HEADRACE_DATASETS_EVICTIONS_MAX"):
        await world.evicted(2, evictions_max=1)
    del world.objects.objects[signals_key(world.survey)]
    assert await world.evicted(1) == []


async def test_files_are_fetched_once_and_old_surveys_go(world):
    """A survey's objects are read from the store once; of many surveys the latest stay on disk."""
    fetched = []
    real = world.objects.fetch

    async def fetch(key, path, *, bytes_max):
        fetched.append(key)
        await real(key, path, bytes_max=bytes_max)

    world.objects.fetch = fetch
    pages = world.pages
    for first in (0, 1):
        await pages.read(refining(world.survey, first, 1))
    assert (
        len([key for key in fetched if key.startswith("rounds/")])
        == len({key for key in fetched if key.startswith("rounds/")})
        == 3
    )
    files = SurveyFiles(world.opened, world.folder / "v")
    for number in range(4):
        async with files.of(survey(f"{number}")) as local, files.of(world.survey):
            assert local.folder.exists()
            assert survey_prefix(local.survey)
