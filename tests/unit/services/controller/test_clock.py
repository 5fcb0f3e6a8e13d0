"""Rounds and a machine's clock that is set while they run."""

from headrace.core.events import Emit, Event, Position, Send
from headrace.core.rounds.facts import DeadlinePassed, RoundProgressed
from headrace.core.rounds.machine import advance
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.state import Phase, RoundState, RoundTimer
from headrace.core.topics import ROUND_TIMER
from headrace.runtime.steady_clock import SteadyClock
from services.controller.rounds import Rounds, wake
from services.controller.subscribers import subscriptions
from tests.fakes.certain import certain
from tests.fakes.round_parts import NOW, started

HOUR = 3_600.0


class World:
    """A machine with two clocks, and a round that was begun on it."""

    def __init__(self) -> None:
        self.wall, self.monotonic = NOW, 5.0
        clock = SteadyClock(lambda: self.wall, lambda: self.monotonic)
        self.rounds = Rounds(
            states=self, selections=None, policy_of=lambda _: None, published=None, begins=None,  # type: ignore[arg-type]
            event_id_of=lambda event_id, place: f"{event_id}/{place}", visible_s=1.0, clock=clock, limits=Limits(tick_s=15.0),
        )  # fmt: skip
        self.state: RoundState = certain(advance(None, started(), clock()).state)

    async def refresh(self, *, expecting=(), within_s=0.0):
        pass

    def state_of(self, dataset_id, round_id):
        return self.state

    def of_dataset(self, dataset_id):
        return [self.state]

    def passes(self, seconds):
        self.wall += seconds
        self.monotonic += seconds

    async def look(self) -> Send:
        """What a timer that comes now leads to."""
        timer = RoundTimer("arithmetic", "r1", self.state.transition)
        [result] = await wake([Event("e", ROUND_TIMER.name, "r1", timer, NOW, Position(ROUND_TIMER.name, 0, 0))], self.rounds)
        assert isinstance(result, Emit)
        return result.sends[0]


async def test_a_clock_that_is_set_moves_no_deadline():
    """An hour forward ends no phase that has an hour left, an hour back prolongs none; what passes counts."""
    for jump in (HOUR * 100, -HOUR):
        world = World()
        allowed = certain(world.state.deadline) - NOW
        world.passes(10.0)
        world.wall += jump
        again = await world.look()
        assert (again.topic, again.not_before) == (ROUND_TIMER, NOW + 25.0)
        world.passes(allowed - 11.0)
        assert (await world.look()).not_before == NOW + allowed
        world.passes(1.0)
        ends = RoundProgressed("arithmetic", "r1", DeadlinePassed(world.state.transition))
        assert (await world.look()).body == ends
        assert world.state.phase is Phase.SURVEYING


def test_timers_are_due_by_the_clock_that_set_them():
    """Else one set by a clock that went on evenly would come at once, again and again, or hours late."""
    world = World()
    bound = {each.topic.name: each for each in subscriptions(None, world.rounds, None, None)}  # type: ignore[arg-type]
    assert bound[ROUND_TIMER.name].clock is world.rounds.clock
    assert bound[ROUND_TIMER.name].delay_s_max == world.rounds.limits.tick_s
