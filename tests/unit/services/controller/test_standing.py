"""Thresholds between rounds: published with the event that they follow from, over the policy that stands then."""

import json
from dataclasses import replace

import pytest

from headrace.core.dossiers import DatasetCommitted, PolicyPublished
from headrace.core.events import Emit, Event, Position, Reject, Stop
from headrace.core.policies import Policy
from headrace.core.rounds.facts import RowsSelected
from headrace.core.rounds.standing import StandingThresholds
from headrace.core.rounds.surveys import Purpose, RoundStepRequested, SelectionRequested
from headrace.core.topics import COMMITTED, POLICY_PUBLISHED, ROUND_PROGRESSED, ROUND_STEP_REQUESTED
from headrace.core.versions import DamagedVersion
from services.controller.rounds import Rounds
from services.controller.standing import Standing, take_committed, take_selections
from tests.fakes.round_parts import SURVEY

ON = Policy.model_validate({"standing": {"rows": 10}})
STRICTER = ON.model_copy(update={"description": "somebody changed it"})
OTHER_RULES = Policy.model_validate({"standing": {"rows": 10}, "rounds": {"hard": {"m": 2.0}}})
FOUND = StandingThresholds(model="signals", model_version="2", rows=10, source="calibration", loss_max=2.0)
BOUND = {"column": "loss_post", "mean": 1.0, "std": 0.5, "ddof": 0, "operator": ">", "bound": 1.5}
THRESHOLD = {
    "axis": "hard", "bounds": [{**BOUND, "column": "loss_pre"}, BOUND], "m": 1.0, "target_share": None, "share_above": None,
    "rows_measured": 50, "rows_left_out": 0, "poisoned": False,
}  # fmt: skip
SELECTED = RowsSelected(Purpose.ROUND, 1, 0, 0, json.dumps({"axes": [{"threshold": THRESHOLD}]}), "", None, 0)


class World:
    """The handlers' surroundings. `policies` are what is read anew, one after the other, the last one for ever."""

    def __init__(self, followed: Policy | None = ON, *policies: Policy | None) -> None:
        self.policies = list(policies) or [followed]
        self.asked: list[Policy] = []
        self.finds: StandingThresholds | Exception | None = FOUND
        self.announced: dict[str, str] = {}
        self.selected: RowsSelected | Exception = SELECTED
        self.standing = Standing(lambda _: followed, self._now, self.announced.get, self._calibrate)

    async def _now(self, _: str) -> Policy | None:
        return self.policies.pop(0) if len(self.policies) > 1 else self.policies[0]

    async def _calibrate(self, _, policy, __):
        self.asked.append(policy)
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds

    async def select(self, _: SelectionRequested) -> RowsSelected:
        if isinstance(self.selected, Exception):
            raise self.selected
        return self.selected

    async def committed(self, request_id=""):
        body = DatasetCommitted("arithmetic", "9f" * 32, 5, "key", 10, 0, 5.0, request_id)
        event = Event("e1", COMMITTED.name, "arithmetic", body, 77.0, Position(COMMITTED.name, 0, 0))
        [result] = await take_committed([event], self.standing)
        return result

    async def selects(self, survey=SURVEY):
        body = RoundStepRequested(SelectionRequested(survey, 50, "{}"))
        event = Event("e1", ROUND_STEP_REQUESTED.name, "arithmetic", body, 77.0, Position(ROUND_STEP_REQUESTED.name, 0, 0))
        rounds = Rounds(None, self, None, None, None, None, 1.0, lambda: 77.0)  # type: ignore[arg-type]  # only selections are asked for
        [result] = await take_selections([event], rounds, self.standing)
        return result


def policy_in(result) -> Policy:
    """The policy published last in a result; its version is that of its text."""
    assert isinstance(result, Emit)
    send = result.sends[-1]
    assert send.topic is POLICY_PUBLISHED
    assert isinstance(send.body, PolicyPublished)
    published = Policy.model_validate_json(send.body.policy_json)
    assert (send.body.version, send.body.dataset_id) == (published.version, "arithmetic")
    return published


async def test_a_version_calibrates_what_has_no_thresholds():
    """The policy with thresholds, at the time of the event: the same event publishes the same again."""
    world = World()
    result = await world.committed()
    assert policy_in(result) == ON.with_thresholds(FOUND)
    assert result.sends[-1].body.published_at == 77.0
    assert await world.committed() == result


async def test_what_a_version_says_to_its_round_is_said_besides():
    """Both go with the event; a calibration that cannot be made holds up nothing."""
    world = World()
    assert [send.topic for send in (await world.committed("round/r1")).sends] == [ROUND_PROGRESSED, POLICY_PUBLISHED]
    world.finds = DamagedVersion("shards/1.parquet: altered")
    assert [send.topic for send in (await world.committed("round/r1")).sends] == [ROUND_PROGRESSED]


@pytest.mark.parametrize("policy", [None, Policy(), Policy.model_validate({"standing": {"thresholds": FOUND.model_dump()}})])
async def test_nothing_is_computed_where_it_is_not_asked_for(policy):
    """No such dataset, or the section is off."""
    world = World(policy)
    assert await world.committed() == Emit()
    assert world.asked == []
    assert len((await world.selects()).sends) == 1


async def test_too_few_rows_publish_nothing():
    """The next version tries again."""
    world = World()
    world.finds = None
    assert await world.committed() == Emit()


async def test_a_policy_published_meanwhile_is_kept():
    """Its other bounds stand in what is published; with other rules the thresholds are computed anew under them."""
    world = World(ON, STRICTER)
    assert policy_in(await world.committed()) == STRICTER.with_thresholds(FOUND)
    assert world.asked == [ON]
    world = World(ON, OTHER_RULES, OTHER_RULES)
    assert policy_in(await world.committed()) == OTHER_RULES.with_thresholds(FOUND)
    assert world.asked == [ON, OTHER_RULES]
    assert await World(ON, Policy()).committed() == Emit()
    assert await World(ON, None).committed() == Emit()


async def test_a_policy_that_keeps_changing_is_left_alone():
    """After a few readings nothing is published; the next occasion does it."""
    world = World(ON, OTHER_RULES, ON, OTHER_RULES, ON)
    assert await world.committed() == Emit()
    assert len(world.asked) == 3


async def test_a_store_that_is_gone_stops_the_handler():
    """It keeps its place."""
    world = World()
    world.finds = Stop("the store is gone")
    with pytest.raises(Stop):
        await world.committed()


async def test_a_rounds_thresholds_stand_from_its_selection_on():
    """In one transaction with the fact, of the current model alone; again changes nothing where they stand already."""
    world = World()
    result = await world.selects()
    assert [send.topic for send in result.sends] == [ROUND_PROGRESSED, POLICY_PUBLISHED]
    found = policy_in(result).standing.thresholds
    assert found == StandingThresholds(
        model="signals", model_version="2", rows=50, source="round r1", loss_max=1.5, loss_mean=1.0, loss_std=0.5, loss_m=1.0
    )
    assert len((await World(ON.with_thresholds(found)).selects()).sends) == 1


async def test_a_round_by_a_version_that_no_longer_measures_says_nothing():
    """Its thresholds would never be compared with anything, and drop those that are."""
    world = World()
    world.announced["signals"] = "2"
    assert len((await world.selects()).sends) == 2
    world.announced["signals"] = "3"
    assert len((await world.selects()).sends) == 1


async def test_evaluations_and_failed_selections_say_nothing():
    """They have no thresholds."""
    world = World()
    world.selected = replace(SELECTED, purpose=Purpose.EVALUATION, thresholds_json="{}")
    assert len((await world.selects(replace(SURVEY, purpose=Purpose.EVALUATION))).sends) == 1
    world.selected = ValueError("no rules")
    assert isinstance(await world.selects(), Reject)
