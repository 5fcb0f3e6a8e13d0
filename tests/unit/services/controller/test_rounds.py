"""The controller's part in rounds: facts to states, timers, versions, checkpoints, and dead letters."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from headrace.adapters.rounds.base_model import base_of
from headrace.adapters.wire.envelope import derived_id
from headrace.core.checkpoints import CheckpointRefused, RefusedStep, VersionPart
from headrace.core.dossiers import DatasetCommitted
from headrace.core.events import Emit, Event, Position, Reject, Result, Retry, Send, Stop
from headrace.core.policies import Policy
from headrace.core.rounds.facts import (
    CheckpointMeasures,
    Cut,
    DeadlinePassed,
    RoundCommitted,
    RoundProgressed,
    RoundStarted,
    RowsMeasured,
    RowsSelected,
    RowsSent,
)
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.pages import RowsMissing
from headrace.core.rounds.planning import bound_versions, kept_bases
from headrace.core.rounds.reasons import RoundReason
from headrace.core.rounds.state import Phase, RoundState, RoundTimer
from headrace.core.rounds.surveys import Purpose, RoundStepRequested, SelectionRequested
from headrace.core.topics import (
    CHECKPOINT_REFUSED,
    CHECKPOINT_ROLLED_OUT,
    COMMITTED,
    ROUND_PROGRESSED,
    ROUND_STATE,
    ROUND_STEP_REQUESTED,
    ROUND_TIMER,
)
from headrace.core.versions import DamagedVersion
from services.controller.rounds import Rounds, take_checkpoints, take_facts, take_step, take_versions, wake
from tests.fakes.bodies import BODIES
from tests.fakes.round_parts import NEXT_VERSION, NOW, SURVEY, Parts, started
from tests.fakes.round_parts import Rounds as Machine
from tests.fakes.signal_model import FakeSignalModel

SENT = RoundProgressed("arithmetic", "r1", RowsSent(Purpose.ROUND, 10, complete=True))
MEASURED_ONE = RoundProgressed("arithmetic", "r1", RowsMeasured(Purpose.ROUND, 1, 0))
PUBLISHED = replace(
    BODIES["CheckpointPublished"],
    data=replace(
        BODIES["CheckpointPublished"].data, version=NEXT_VERSION, version_parts=(), held_out_share=0.1, held_out_seed="seed"
    ),
)
ROLLED_OUT = replace(BODIES["CheckpointRolledOut"], rollback_request_id="", model_version="3")


class FakeStates:
    """A topic of states in memory; what is written becomes readable when the test says so."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], RoundState] = {}
        self.expected: list[list[str]] = []
        self.gone = False

    async def refresh(self, *, expecting: Iterable[str] = (), within_s: float = 0.0) -> None:
        if self.gone:
            raise Stop("the broker is gone")
        self.expected.append(list(expecting))

    def state_of(self, dataset_id: str, round_id: str) -> RoundState | None:
        return self.states.get((dataset_id, round_id))

    def of_dataset(self, dataset_id: str) -> list[RoundState]:
        return [state for state in self.states.values() if state.dataset_id == dataset_id]


class World:
    """The handlers' surroundings; `begins` is what a checkpoint begins, `selects` what a selection step comes to."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.states = FakeStates()
        self.now = NOW
        self.offset = 0
        self.begun: RoundStarted | None = None
        self.checkpoint = PUBLISHED
        self.selected: RowsSelected | Exception = Parts().selection(Purpose.ROUND)
        self.rounds = Rounds(
            states=self.states,
            selections=self,
            policy_of=lambda _: policy,
            published=self._published,
            begins=self._begins,
            event_id_of=lambda event_id, place: derived_id(event_id, ROUND_STATE.name, place),
            visible_s=1.0,
            limits=Limits(tick_s=15.0),
            clock=lambda: self.now,
        )

    async def select(self, _: SelectionRequested) -> RowsSelected:
        if isinstance(self.selected, Exception):
            raise self.selected
        return self.selected

    def events(self, topic, bodies, partition: int = 0) -> list[Event[Any]]:
        made = []
        for body in bodies:
            self.offset += 1
            position = Position(topic.name, partition, self.offset)
            made.append(Event(f"e{self.offset}", topic.name, "arithmetic", body, self.now, position))
        return made

    async def facts(self, *bodies: RoundProgressed) -> list[tuple[Send, ...]]:
        """Handles facts as one batch and makes the states visible."""
        results = await take_facts(self.events(ROUND_PROGRESSED, bodies), self.rounds)
        self.visible(results)
        return [sends_of(result) for result in results]

    def visible(self, results) -> None:
        for result in results:
            for send in result.sends if isinstance(result, Emit) else ():
                if isinstance(send.body, RoundState):
                    self.states.states[(send.body.dataset_id, send.body.round_id)] = send.body

    async def _published(self, model: str, checkpoint_id: str):
        return self.checkpoint if (model, checkpoint_id) == (PUBLISHED.model, PUBLISHED.checkpoint_id) else None

    async def _begins(self, *_: object) -> RoundStarted | None:
        return self.begun


@pytest.fixture
def world() -> World:
    return World()


def sends_of(result: Result) -> tuple[Send, ...]:
    assert isinstance(result, Emit)
    return result.sends


def body_of(result: Result) -> Any:
    """The body of the first event that was sent."""
    return sends_of(result)[0].body


def fact_in(send: Send) -> Any:
    assert isinstance(send.body, RoundProgressed)
    return send.body.fact


def states_in(sends) -> list[RoundState]:
    return [send.body for each in sends for send in each if send.topic == ROUND_STATE]


async def test_a_batch_of_facts_is_one_state(world):
    """Facts build on each other within the batch; the round's state goes once, with the last fact that changed it."""
    sends = await world.facts(started(), SENT, MEASURED_ONE, MEASURED_ONE)
    assert [len(states_in([each])) for each in sends] == [0, 0, 0, 1]
    [state] = states_in(sends)
    assert (state.phase, state.rows.sent, state.rows.measured) == (Phase.SURVEYING, 10, 2)
    assert [send.topic for send in sends[0]] == [ROUND_STEP_REQUESTED, ROUND_TIMER]


async def test_what_was_written_is_waited_for(world):
    """The next batch reads the state of the one before it; where that one comes again, its states count for nothing."""
    first = world.events(ROUND_PROGRESSED, [started(), SENT])
    results = await take_facts(first, world.rounds)
    assert world.states.expected == [[]]
    again = await take_facts(first[:1], world.rounds)  # it was not committed
    assert world.states.expected[-1] == []
    assert sends_of(again[0])[0] == sends_of(results[0])[0]
    world.visible(results)
    await take_facts(world.events(ROUND_PROGRESSED, [MEASURED_ONE]), world.rounds)
    assert world.states.expected[-1] == [derived_id("e1", ROUND_STATE.name, 2)]
    await take_facts(world.events(ROUND_PROGRESSED, [MEASURED_ONE], partition=1), world.rounds)
    assert len(world.states.expected[-1]) == 1


async def test_a_broken_fact_harms_no_other(world):
    """It is rejected with its error; what the batch holds besides is taken in."""
    await world.facts(started())
    [state] = world.states.states.values()
    broken = replace(state, round_id="r2", begun=replace(state.begun, rules_json="{"))
    world.states.states[("arithmetic", "r2")] = broken
    events = world.events(ROUND_PROGRESSED, [replace(SENT, round_id="r2"), SENT])
    rejected, taken = await take_facts(events, world.rounds)
    assert isinstance(rejected, Reject)
    assert isinstance(taken, Emit)


async def test_facts_from_the_dead_letters_come_by_themselves(world):
    """Partitions commit one by one: what comes back through a retry topic is not mixed with what comes anew."""
    await world.facts(started())
    fresh, back = world.events(ROUND_PROGRESSED, [SENT, MEASURED_ONE])
    back = replace(back, position=Position(f"{ROUND_PROGRESSED.name}.controller.retry", 0, 1))
    taken, waits = await take_facts([fresh, back], world.rounds)
    assert isinstance(taken, Emit)
    assert isinstance(waits, Retry)
    [alone] = await take_facts([back], world.rounds)
    assert isinstance(alone, Emit)


async def test_two_starts_in_one_batch_are_one_round(world):
    """The second of them sees the first, though nothing is visible yet."""
    sends = await world.facts(started(), started(round_id="r2"))
    first, second = states_in(sends)
    assert (first.phase, second.reason) == (Phase.SURVEYING, RoundReason.ANOTHER_ROUND_RUNS)


async def test_a_timer_looks_at_the_clock(world):
    """Before the deadline it is set again, after it the round is told; a timer of a phase that is over says nothing."""
    await world.facts(started())
    [state] = world.states.states.values()
    [timer] = world.events(ROUND_TIMER, [RoundTimer("arithmetic", "r1", state.transition)])
    [result] = await wake([timer], world.rounds)
    assert (sends_of(result)[0].topic, sends_of(result)[0].not_before) == (ROUND_TIMER, NOW + 15.0)
    world.now = state.deadline
    [result] = await wake([timer], world.rounds)
    assert body_of(result).fact == DeadlinePassed(state.transition)
    [stale] = world.events(ROUND_TIMER, [RoundTimer("arithmetic", "r1", state.transition - 1)])
    assert await wake([stale], world.rounds) == [Emit()]
    [early] = world.events(ROUND_TIMER, [RoundTimer("arithmetic", "r1", state.transition + 1)])
    [result] = await wake([early], world.rounds)
    assert isinstance(result, Retry)


async def test_a_broker_that_is_gone_stops_the_consumer(world):
    """Nothing is wrong with any fact."""
    world.states.gone = True
    for asked in (
        take_facts(world.events(ROUND_PROGRESSED, [SENT]), world.rounds),
        wake(world.events(ROUND_TIMER, [RoundTimer("arithmetic", "r1", 1)]), world.rounds),
    ):
        with pytest.raises(Stop):
            await asked


async def test_selection_is_the_controller_s_step(world):
    """Its outcome is a fact; steps of others are left alone; what can never be done freezes the round by its dead letter."""
    asked = RoundStepRequested(SelectionRequested(SURVEY, 10, "{}"))
    [event] = world.events(ROUND_STEP_REQUESTED, [asked])
    [result] = await take_step([event], world.rounds)
    assert body_of(result) == RoundProgressed("arithmetic", "r1", world.selected)
    [other] = world.events(ROUND_STEP_REQUESTED, [BODIES["RoundStepRequested.EvictionRequested"]])
    assert await take_step([other], world.rounds) == [Emit()]
    for error, kind in ((RowsMissing("3 rows"), Retry), (DamagedVersion("gone"), Reject), (ValueError("rules"), Reject)):
        world.selected = error
        [result] = await take_step([event], world.rounds)
        assert isinstance(result, kind)


async def test_a_round_knows_its_version_by_its_request(world):
    """Versions that others asked for say nothing to it."""
    committed = DatasetCommitted("arithmetic", NEXT_VERSION, 6, "key", 104, 3, NOW, "round/r1")
    events = world.events(COMMITTED, [replace(committed, request_id=each) for each in ("round/r1", "round/r1/standing", "cut-1")])
    ours, standing, other = await take_versions(events)
    assert body_of(standing) == RoundProgressed("arithmetic", "r1", RoundCommitted(NEXT_VERSION, 6, 104, Cut.STANDING))
    assert body_of(ours) == RoundProgressed("arithmetic", "r1", RoundCommitted(NEXT_VERSION, 6, 104))
    assert other == Emit()


async def test_a_checkpoint_speaks_to_the_rounds_of_its_dataset(world):
    """With the version that it was trained on; one that has seen the held-out prompts is refused as a judge."""
    await world.facts(started())

    async def told(topic, body):
        [result] = await take_checkpoints(world.events(topic, [body]), world.rounds)
        return [fact_in(send) for send in sends_of(result)]

    assert await told(CHECKPOINT_ROLLED_OUT, ROLLED_OUT) == [CheckpointMeasures("ab" * 32, "3", "", NEXT_VERSION)]
    [refused] = await told(CHECKPOINT_REFUSED, replace(BODIES["CheckpointRefused"], rollback_request_id=""))
    assert (refused.refused, refused.version) == ("verify: the hash is wrong", NEXT_VERSION)
    world.checkpoint = replace(PUBLISHED, data=replace(PUBLISHED.data, version_parts=(VersionPart((0, 2)),)))  # not the whole
    assert [fact.version for fact in await told(CHECKPOINT_ROLLED_OUT, ROLLED_OUT)] == [""]
    world.checkpoint = PUBLISHED
    assert await told(CHECKPOINT_ROLLED_OUT, replace(ROLLED_OUT, rollback_request_id="r")) == []
    assert await told(CHECKPOINT_ROLLED_OUT, replace(ROLLED_OUT, checkpoint_id="")) == []
    went_back = CheckpointRefused("signals", "ab" * 32, RefusedStep.ROLLBACK, "it is the present one", NOW)
    assert await told(CHECKPOINT_REFUSED, went_back) == []
    [state] = world.states.states.values()
    survey = replace(state.begun.survey, held_out_seed="other")
    world.states.states[("arithmetic", "r1")] = replace(state, begun=replace(state.begun, survey=survey))
    [unfit] = await told(CHECKPOINT_ROLLED_OUT, ROLLED_OUT)
    assert "held out" in unfit.refused


async def test_a_checkpoint_may_begin_a_round(world):
    """Where its dataset's policy says so, and none runs."""
    world.begun = started(round_id="r7").fact
    [result] = await take_checkpoints(world.events(CHECKPOINT_ROLLED_OUT, [ROLLED_OUT]), world.rounds)
    assert body_of(result) == RoundProgressed("arithmetic", "r7", world.begun)


def test_a_round_binds_what_it_measures_with():
    """Its models stay loaded until the last rewrite has ended, and the new one while it is evaluated."""
    machine, seen = Machine(), {}
    waiting = list(machine.take(started()))
    while waiting:
        for fact in Parts().answer(waiting.pop(0)):
            [state] = machine.states.values()
            seen[state.phase.value] = bound_versions(machine.states.values(), "signals")
            waiting += machine.tell(fact)
    assert seen["surveying"] == seen["refining"] == {1, 2}
    assert seen["evaluating"] == {3}
    assert bound_versions(machine.states.values(), "signals") == frozenset()


def test_the_first_version_stays_loaded_where_the_next_round_needs_it():
    """As long as it is the base by default of a dataset's latest round; not where the policy declines, or names another."""
    machine = Machine()
    machine.take(started())
    states = list(machine.states.values())
    for policy, kept in (
        (Policy(), {1}),
        (Policy.model_validate({"rounds": {"base": "none"}}), set()),
        (Policy.model_validate({"rounds": {"hard": {"enabled": False}}}), set()),
        (Policy.model_validate({"signals": {"base_model": "another"}}), set()),
        (None, set()),
    ):
        assert kept_bases(states, {"arithmetic": policy}.get, "signals") == kept
    assert kept_bases(states, {"arithmetic": Policy()}.get, "another") == set()
    [state] = states
    later = replace(state, ordinal=2, begun=replace(state.begun, survey=replace(state.begun.survey, base_model="")))
    for told in ([state, later], [later, state]):  # whatever their clocks said
        assert kept_bases(told, {"arithmetic": Policy()}.get, "signals") == set()


@pytest.mark.parametrize(
    ("document", "loaded", "base"),
    [
        ({}, {"1"}, ("signals", "1")),
        ({}, set(), ("", "")),
        ({"rounds": {"base": "none"}}, {"1"}, ("", "")),
        ({"rounds": {"hard": {"enabled": False}}}, {"1"}, ("", "")),
        ({"signals": {"base_model": "another"}}, {"1"}, ("another", "7")),
        ({"signals": {"base_model": "another"}, "rounds": {"base": "none"}}, set(), ("another", "7")),
    ],
)
async def test_the_base_is_the_first_version_unless_the_policy_says_otherwise(document, loaded, base):
    """A model that the policy names comes first; what the server has not loaded is no base."""

    class Server:
        async def named(self, name):
            return FakeSignalModel(name, "7")

        async def has(self, _, version):
            return version in loaded

    assert await base_of(Policy.model_validate(document), "signals", "1", Server()) == base
