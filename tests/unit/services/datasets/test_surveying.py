"""What datasets does with steps of rounds and measured rows, around a store in memory."""

import itertools
from dataclasses import replace

import pytest

from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_pages import PageLimits, SurveyPages
from headrace.adapters.versions.store import VersionStore
from headrace.core.events import Emit, Event, Position, Reject, Retry, Stop
from headrace.core.policies import Policy
from headrace.core.rounds.facts import Ending, RewriteEnded, RewritesRequested, RowsEvicted, RowsMeasured, RowsReverted, RowsSent
from headrace.core.rounds.pages import RefiningPage, RevertPage, RowsMissing
from headrace.core.rounds.revisions import NoRevisionLeft
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import (
    DensityRequested,
    EvictionRequested,
    Purpose,
    RefiningRequested,
    RevertRequested,
    RoundStepRequested,
    SelectionRequested,
    SurveyRequested,
)
from headrace.core.rounds.thresholds import TooManyRows
from headrace.core.topics import (
    MEASURED,
    REFINEMENT_REQUESTED,
    RETRACTION_REQUESTED,
    ROUND_PROGRESSED,
    ROUND_STEP_REQUESTED,
    SUBMITTED,
    SURVEYED,
)
from services.datasets.surveying import Surveying, stage_measured, take_step
from tests.fakes.bodies import BODIES
from tests.fakes.decisions import DATASET, dossier
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.surveys import accepted, cut_version, measured, survey, survey_files

IDS = [f"s{n:02}" for n in range(9)]
REWRITE = BODIES["RefinementRequested"].rewrite


class Answers:
    """Stands for a reader of pages: gives what it was told to give."""

    def __init__(self, answer):
        self.answer = answer

    async def read(self, _):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class World:
    def __init__(self, folder):
        self.objects = FakeObjectStore()
        self.policies = {DATASET: Policy()}
        self.paced: list[str] = []
        self.bytes: list[int] = []
        self.offsets = itertools.count()
        versions, surveys = VersionStore(self.objects, folder), survey_files(self.objects, folder)
        self.surveying = Surveying(
            pages=SurveyPages(versions, ShardFiles(versions, folder, 1 << 20), surveys, PageLimits(4, 1 << 20)),
            refining=Answers(RefiningPage((), (), complete=True)),
            evictions=Answers([]), reverting=Answers(None), measured=MeasuredRows(self.objects),
            policy_of=self.policies.get, staged=self.bytes.append, pace=self.pace,
        )  # fmt: skip

    async def pace(self, topic):
        self.paced.append(topic)

    def event(self, topic, body, partition=1):
        position = Position(topic.name, partition, next(self.offsets))
        return Event(f"e{position.offset}", topic.name, topic.key_of(body), body, 0.0, position)

    async def step(self, step, **readers):
        [result] = await take_step(
            [self.event(ROUND_STEP_REQUESTED, RoundStepRequested(step))], replace(self.surveying, **readers)
        )
        return result


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def bodies(result, topic):
    assert isinstance(result, Emit), result
    return [send.body for send in result.sends if send.topic is topic]


def facts(result):
    return [progressed.fact for progressed in bodies(result, ROUND_PROGRESSED)]


async def test_a_survey_goes_out_page_by_page(world):
    """Each page sends its rows, says how many they are and asks for the next; the last one says so. Twice is the same."""
    version = await cut_version(world.objects, accepted(*IDS))
    asked: SurveyRequested | None = SurveyRequested(survey(version.id))
    sent, said = [], []
    while asked is not None:
        result = await world.step(asked)
        assert await world.step(asked) == result
        sent += [row.sample.id for row in bodies(result, SURVEYED)]
        said += facts(result)
        following = bodies(result, ROUND_STEP_REQUESTED)
        asked = following[0].step if following else None
    assert sent == IDS
    assert said == [RowsSent(Purpose.ROUND, 4, False), RowsSent(Purpose.ROUND, 4, False), RowsSent(Purpose.ROUND, 1, True)]


async def test_a_survey_of_nothing_is_complete_at_once(world):
    """A version without rows ends with its first page."""
    version = await cut_version(world.objects, [])
    assert facts(await world.step(SurveyRequested(survey(version.id)))) == [RowsSent(Purpose.ROUND, 0, complete=True)]


async def test_steps_of_others_are_left_to_them(world):
    """Densities and selection are not done here."""
    for step in (DensityRequested(survey(), 0, 3, 2), SelectionRequested(survey(), 3, "{}")):
        assert await world.step(step) == Emit()


async def test_what_stands_in_the_way_is_said(world):
    """A version that is gone is a dead letter with its name, rows on their way are waited for, as is a dataset's policy."""
    gone = await world.step(SurveyRequested(survey("0" * 64)))
    assert isinstance(gone, Reject)
    assert "0" * 64 in gone.error
    bad = await world.step(EvictionRequested(survey(), 1), evictions=Answers(TooManyRows("too many")))
    assert bad == Reject("TooManyRows", "too many")
    early = await world.step(RefiningRequested(survey(), 0, 1, 1, 1), refining=Answers(RowsMissing("2 of 3")))
    assert early == Retry("RowsMissing", "2 of 3")
    world.policies.clear()
    assert isinstance(await world.step(SurveyRequested(survey("0" * 64))), Retry)


async def test_measured_rows_are_staged_and_counted(world):
    """By survey and stream; the count, with tokens and seconds, goes to the round with the last row of each."""
    other = survey(purpose=Purpose.EVALUATION)
    rows = [measured(dossier("a").sample, survey()), measured(dossier("b").sample, survey(), error="too long")]
    events = [world.event(MEASURED, row) for row in (*rows, measured(dossier("a").sample, other))]
    first, second, third = await stage_measured(events, world.surveying)
    assert facts(first) == []
    assert facts(second) == [RowsMeasured(Purpose.ROUND, 2, not_made=1, tokens=30, seconds=1.0)]
    assert facts(third) == [RowsMeasured(Purpose.EVALUATION, 1, not_made=0, tokens=15, seconds=0.5)]
    assert sorted(world.objects.objects) == [
        f"rounds/{DATASET}/r1/{purpose}/measured/measured/00001/{last:020}-{first:020}-{rows:06}.parquet"
        for purpose, first, last, rows in (("evaluation", 2, 2, 1), ("round", 0, 1, 2))
    ]
    before = dict(world.objects.objects)
    await stage_measured(events, world.surveying)
    assert world.objects.objects == before
    assert world.paced == [MEASURED.name] * 2
    assert len(world.bytes) == 4


async def test_rows_that_were_sent_back_are_told_of_one_by_one(world):
    """By name, wherever on their way they were among the dead letters: the round may have counted them as lost."""
    rows = [measured(dossier(sample_id).sample, survey()) for sample_id in "abc"]
    events = [world.event(MEASURED, row) for row in (rows[0], replace(rows[1], sent_back=True), rows[2])]
    *others, result = await stage_measured([*events[:2], replace(events[2], sent_back=True)], world.surveying)
    assert [facts(each) for each in others] == [[], []]
    told = RowsMeasured(Purpose.ROUND, 1, not_made=0, tokens=15, seconds=0.5)
    assert facts(result) == [told, replace(told, sent_back="b/0"), replace(told, sent_back="c/0")]


async def test_rows_that_cannot_be_staged_are_refused_alone(world):
    """A round id that is no name is a dead letter; a dataset without a policy is waited for; the rest is staged."""
    rows = [
        measured(dossier("a").sample, of)
        for of in (survey(), replace(survey(), round_id="../x"), replace(survey(), dataset_id="x"))
    ]
    good, bad, unknown = await stage_measured([world.event(MEASURED, row) for row in rows], world.surveying)
    assert facts(good) == [RowsMeasured(Purpose.ROUND, 1, 0, 15, 0.5)]
    assert isinstance(bad, Reject)
    assert bad.error_class == "BadRoundId"
    assert isinstance(unknown, Retry)


async def test_a_store_that_is_gone_stops_everything(world):
    """Nothing is wrong with any record: the topics wait."""
    world.objects.down = True
    with pytest.raises(Stop):
        await world.step(SurveyRequested(survey("0" * 64)))
    with pytest.raises(Stop):
        await stage_measured([world.event(MEASURED, measured(dossier("a").sample, survey()))], world.surveying)


async def test_rewrites_are_asked_for_and_counted_with_those_that_ended(world):
    """A retracted parent's rewrite counts as requested and as ended, so that the round's sums come out."""
    ended = RewriteEnded(Axis.HARD, "b", Ending.NOT_MADE, "retracted", 0)
    page = RefiningPage((REWRITE, REWRITE), (ended,), complete=False)
    result = await world.step(RefiningRequested(survey(), 0, 3, 2, 1), refining=Answers(page))
    assert [asked.rewrite for asked in bodies(result, REFINEMENT_REQUESTED)] == [REWRITE, REWRITE]
    assert facts(result) == [RewritesRequested(3, complete=False), ended]


async def test_evictions_are_retractions_named_by_round_and_sample(world):
    """A redelivery repeats them under the same names; fewer than asked for are said to be fewer."""
    step = EvictionRequested(survey(), 5)
    result = await world.step(step, evictions=Answers([("a", 0), ("b", 2)]))
    asked = bodies(result, RETRACTION_REQUESTED)
    assert [(each.sample_id, each.revision, each.reason, each.request_id) for each in asked] == [
        ("a", 0, "redundant", "r1/a"), ("b", 2, "redundant", "r1/b"),
    ]  # fmt: skip
    assert facts(result) == [RowsEvicted(2)]


async def test_rows_of_a_round_that_is_undone_come_back_and_leave(world):
    """Visible together with their number and the request for the next page."""
    asked, following = RevertRequested(survey(), "v2"), RevertRequested(survey(), "v2", "s01")
    leaving = BODIES["RetractionRequested"]
    result = await world.step(asked, reverting=Answers(RevertPage((dossier("s00"), dossier("s01")), (leaving,), following)))
    assert [each.sample.id for each in bodies(result, SUBMITTED)] == ["s00", "s01"]
    assert bodies(result, RETRACTION_REQUESTED) == [leaving]
    assert [each.fact for each in bodies(result, ROUND_PROGRESSED)] == [RowsReverted(2, 1, complete=False)]
    assert [each.step for each in bodies(result, ROUND_STEP_REQUESTED)] == [following]
    last = await world.step(asked, reverting=Answers(RevertPage((), (), None)))
    assert [each.fact for each in bodies(last, ROUND_PROGRESSED)] == [RowsReverted(0, 0, complete=True)]


async def test_a_row_without_a_number_to_come_back_by_is_a_dead_letter(world):
    """The round freezes and names it."""
    result = await world.step(RevertRequested(survey(), "v2"), reverting=Answers(NoRevisionLeft("none above it")))
    assert isinstance(result, Reject)
    assert result.error_class == "NoRevisionLeft"
