"""Reports of rounds: written when a round halts, and again when it does so again."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from headrace.core.events import Emit, Event, Position, Reject, Stop
from headrace.core.rounds.counts import RewriteCounts
from headrace.core.rounds.facts import RoundCommitted
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.topics import ROUND_STATE
from headrace.core.versions import DamagedVersion
from services.controller.reporting import Reporting, report_rounds
from tests.fakes.bodies import STATE
from tests.unit.services.controller.test_rounds import FakeStates

RUNNING = replace(STATE, phase=Phase.SURVEYING, frozen_in=None)


class Store:
    """Takes reports, or fails as the object store would."""

    def __init__(self) -> None:
        self.written: list[tuple[str, list[str]]] = []
        self.fails: Exception | None = None
        self.settled = 0

    async def settle(self) -> None:
        assert not self.written
        self.settled += 1

    async def __call__(self, state: RoundState, known: Iterable[RoundState]) -> str:
        if self.fails is not None:
            raise self.fails
        self.written.append((state.phase, [each.round_id for each in known]))
        return "key"


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def reporting(store) -> Reporting:
    states = FakeStates()
    states.states[STATE.dataset_id, "earlier"] = replace(STATE, round_id="earlier")
    return Reporting(states, store, store.settle)


def events(*states: RoundState) -> list[Event[RoundState]]:
    return [
        Event(f"e{number}", ROUND_STATE.name, "k", state, 1.0, Position(ROUND_STATE.name, 0, number))
        for number, state in enumerate(states)
    ]


async def test_a_round_that_halts_is_reported_beside_those_before_it(reporting, store):
    """Frozen and ended rounds are; those under way and those that never began are not."""
    kept = replace(STATE, round_id="kept", phase=Phase.KEPT, frozen_in=None)
    never = replace(STATE, round_id="never", phase=Phase.STOPPED, ordinal=0)
    assert await report_rounds(events(RUNNING, STATE, kept, never), reporting) == [Emit()] * 4
    assert store.written == [(Phase.FROZEN, ["earlier"]), (Phase.KEPT, ["earlier"])]


async def test_one_report_of_a_batch_is_enough(reporting, store):
    """A frozen round that goes on counting is reported as it stands last; one that was resumed meanwhile is not."""
    assert await report_rounds(events(STATE, STATE, STATE), reporting) == [Emit()] * 3
    assert len(store.written) == 1
    assert await report_rounds(events(STATE, RUNNING), reporting) == [Emit()] * 2
    assert len(store.written) == 1


async def test_staged_decisions_are_waited_for_where_a_report_reads_them(reporting, store):
    """Once for a batch, and only for a round with rewrites and without a version."""
    rewritten = replace(STATE, committed=None, rewrites=replace(STATE.rewrites, accepted={"hard": 1}))
    committed = replace(rewritten, round_id="committed", committed=RoundCommitted("v" * 64, 3, 10))
    bare = replace(STATE, round_id="bare", committed=None, rewrites=RewriteCounts())
    await report_rounds(events(committed, bare), reporting)
    assert store.settled == 0
    store.written.clear()
    await report_rounds(events(committed, rewritten, replace(rewritten, round_id="another")), reporting)
    assert store.settled == 1


async def test_a_damaged_round_has_no_report_and_a_store_that_is_gone_is_waited_for(reporting, store):
    """What cannot be read goes to the dead letters by name; Stop keeps the place."""
    store.fails = DamagedVersion("rounds/arithmetic/round-1/round/signals.parquet: cut off")
    (refused,) = await report_rounds(events(STATE), reporting)
    assert isinstance(refused, Reject)
    assert "signals.parquet: cut off" in refused.error
    store.fails = Stop("gone")
    with pytest.raises(Stop):
        await report_rounds(events(STATE), reporting)
