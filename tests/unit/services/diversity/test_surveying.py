"""What diversity does in a round: densities slice by slice, and embeddings of a new model entered and handed on."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from headrace.adapters.rounds import density_blocks
from headrace.adapters.rounds.density_blocks import DensityBlocks
from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.rounds.survey_table import build_signal_table
from headrace.core.dossiers import Embeddings
from headrace.core.events import Emit, Event, Position, Reject, Retry, Stop
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import AcceptedPoint, Content, Space, Vectors
from headrace.core.rounds.facts import DensitiesMade
from headrace.core.rounds.surveys import DensityRequested, EvictionRequested, Purpose, RoundStepRequested
from headrace.core.topics import INDEXED, MEASURED, ROUND_PROGRESSED, ROUND_STEP_REQUESTED
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.settings import DeliverySettings, RuntimeSettings
from services.diversity.app import open_service
from services.diversity.surveying import Surveying
from tests.fakes.decisions import DATASET, dossier
from tests.fakes.exact_vector_index import ExactVectorIndex
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import measured, placed, survey, vector_of

IDS = [f"s{n:02}" for n in range(10)]


class World:
    def __init__(self, folder):
        self.objects = FakeObjectStore()
        self.index = ExactVectorIndex()
        self.policies = {DATASET: Policy()}
        self.offsets = itertools.count()
        self.now = 0.0
        blocks = DensityBlocks(SurveyFiles(self.opened, folder), slice_s=1.5, clock=self.clock)
        self.surveying = Surveying(self.index, blocks, self.policies.get)

    async def opened(self):
        return self.objects

    def clock(self):
        """A second for each block."""
        self.now += 1.0
        return self.now

    def event(self, topic, body):
        position = Position(topic.name, 0, next(self.offsets))
        return Event(f"e{position.offset}", topic.name, topic.key_of(body), body, 0.0, position)

    async def step(self, step):
        [result] = await self.surveying.take_step([self.event(ROUND_STEP_REQUESTED, RoundStepRequested(step))])
        return result

    async def enter(self, *rows):
        return await self.surveying.enter_measured([self.event(MEASURED, row) for row in rows])

    async def counts(self):
        return {census.space.model_version: census.accepted for census in await self.index.census()}


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def row(sample_id, **more):
    return measured(dossier(sample_id).sample, survey(), **more)


def bodies(result, topic):
    assert isinstance(result, Emit), result
    return [send.body for send in result.sends if send.topic is topic]


async def test_densities_are_made_slice_by_slice(world, tmp_path, monkeypatch):
    """Each step says how many rows it did and asks for the rest; done twice, a step stores nothing new; the table takes them."""
    monkeypatch.setattr(density_blocks, "QUERY_ROWS", 2)
    await MeasuredRows(world.objects).stage(
        survey(), "measured/00000", placed([row(each) for each in IDS], stream="measured/00000")
    )
    asked: DensityRequested | None = DensityRequested(survey(), 0, 10, 2)
    said = []
    while asked:
        result = await world.step(asked)
        stored = dict(world.objects.objects)
        await world.step(asked)
        assert world.objects.objects == stored
        said += [progressed.fact for progressed in bodies(result, ROUND_PROGRESSED)]
        following = bodies(result, ROUND_STEP_REQUESTED)
        asked = following[0].step if following else None
    assert said == [DensitiesMade(4, complete=False), DensitiesMade(4, complete=False), DensitiesMade(2, complete=True)]
    (tmp_path / "t").mkdir()
    assert (await build_signal_table(world.objects, survey(), 10, tmp_path / "t", densities=True)).rows == 10


async def test_rows_that_are_not_there_yet_are_waited_for(world):
    """Densities over an open set would have to be made again; no rows are no work."""
    await MeasuredRows(world.objects).stage(survey(), "measured/00000", placed([row("a")], stream="measured/00000"))
    early = await world.step(DensityRequested(survey(), 0, 2, 2))
    assert isinstance(early, Retry)
    assert "1 of 2 rows" in early.error
    empty = await world.step(DensityRequested(replace(survey(), round_id="r2"), 0, 0, 2))
    assert [progressed.fact for progressed in bodies(empty, ROUND_PROGRESSED)] == [DensitiesMade(0, complete=True)]
    bad = await world.step(DensityRequested(replace(survey(), round_id="../r"), 0, 0, 2))
    assert isinstance(bad, Reject)
    assert await world.step(EvictionRequested(survey(), 1)) == Emit()
    world.objects.down = True
    with pytest.raises(Stop):
        await world.step(DensityRequested(replace(survey(), round_id="r3"), 0, 2, 2))


async def test_measured_rows_enter_the_space_of_the_new_model(world):
    """And their embeddings go on to datasets; twice is once."""
    for _ in range(2):
        results = await world.enter(row("a"), row("b"))
        indexed = [body for result in results for body in bodies(result, INDEXED)]
        assert [(each.sample_id, each.embeddings.model_version) for each in indexed] == [("a", "4"), ("b", "4")]
        assert indexed[0].prompt_hash == row("a").prompt_hash
    assert await world.counts() == {"4": 2}


async def test_what_does_not_stand_is_neither_entered_nor_handed_on(world):
    """Retracted or replaced since the version was cut."""
    vectors = Vectors(vector_of("a"), vector_of("a"))
    await world.index.load([AcceptedPoint(Space(DATASET, "smol", "3"), "a", 1, Content("c", "p"), vectors)])
    await world.index.retract(DATASET, [("b", 0)])
    assert await world.enter(row("a"), row("b")) == [Emit(), Emit()]
    [standing] = await world.enter(row("c"))
    assert len(bodies(standing, INDEXED)) == 1
    assert await world.counts() == {"3": 1, "4": 1}


async def test_rows_without_use_for_the_index_are_passed_by(world):
    """An evaluation's rows are there already, rows without embeddings have nothing to enter."""
    rows = [measured(dossier("a").sample, survey(purpose=Purpose.EVALUATION)), row("b", error="too long")]
    assert await world.enter(*rows) == [Emit(), Emit()]
    assert await world.counts() == {}


async def test_embeddings_that_cannot_be_entered_are_dead_letters_alone(world):
    """No vector, no number, another length than the space has; and an unknown dataset may be about to get a policy."""
    nan = np.full(8, np.nan)
    odd = replace(row("o"), embeddings=Embeddings("smol", "4", b"abc", b"abc"))
    unknown = replace(row("u"), survey=replace(survey(), dataset_id="other"))
    results = await world.enter(row("a"), row("n", vector=nan), odd, row("s", vector=np.ones(3)), unknown, row("z"))
    assert [type(result) for result in results] == [Emit, Reject, Reject, Reject, Retry, Emit]
    assert [result.error_class for result in results if isinstance(result, Reject)] == [
        "UnusableEmbeddings", "UnusableEmbeddings", "WrongDimensions",
    ]  # fmt: skip
    assert await world.counts() == {"4": 2}


@pytest.mark.parametrize("name", ["HEADRACE_DIVERSITY_DENSITY_SLICE_S", "HEADRACE_DIVERSITY_INDEX_BUILD_WAIT_S_MAX"])
async def test_a_wait_that_would_cost_the_partition_is_refused(monkeypatch, name):
    """The service does not start, and names both settings."""
    monkeypatch.setenv(name, "151")
    runtime = Runtime(RuntimeSettings(), DeliverySettings(handler_s_max=300))
    with pytest.raises(CannotStart, match=rf"{name} .* HEADRACE_DELIVERY_HANDLER_S_MAX"):
        async with open_service(runtime):
            pass
