"""Whatever order a round is told its facts in, it ends, and the same order ends the same."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.dossiers import DatasetCutRequested
from headrace.core.rounds.facts import Action, Cut, DeadlinePassed, Ending, Fact, RoundAsked
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.policy import Budget, Guards, RoundPolicy
from headrace.core.rounds.state import ENDED, Phase, RoundState
from headrace.core.rounds.surveys import RefiningRequested, RevertRequested
from tests.fakes.round_parts import Parts, Rounds, started


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_any_order_of_what_is_told_comes_to_an_end(seed):
    """Interleaved, repeated, lost, frozen and resumed: with deadlines a round ends, counts hold, no step is asked for twice."""
    draw = random.Random(seed)
    rules = RoundPolicy(
        guards=Guards(human_rows_min=draw.choice([0, 9]), lost_rows_max=draw.choice([0, 100])),
        budget=Budget(tokens=draw.choice([None, 0, 350])),
        train=draw.choice([True, False]),
        unmended=draw.choice(["keep", "drop"]),
        on_worse=draw.choice(["revert", "keep_data"]),
    )
    parts = Parts(
        lost=draw.randint(0, 2),
        not_made=draw.randint(0, 2),
        endings=tuple(draw.choices(list(Ending), k=3)),
        tokens=draw.choice([None, 100]),
        held_out_after=draw.choice([1.4, 1.6, None]),
        trains=draw.choice([True, False]),
    )
    rounds, on_the_way = Rounds(Limits(page_rows=3)), [started(rules).fact]
    for _ in range(2_000):
        state = rounds.states.get("r1")
        if state is not None and not state.running:
            break
        fact = _next_fact(rounds, state, on_the_way, draw)
        if fact is not None:
            on_the_way += [answer for send in rounds.tell(fact) for answer in parts.answer(send)]
            _require_sound(rounds)
    assert rounds.states["r1"].phase in ENDED


def _next_fact(rounds: Rounds, state: RoundState | None, on_the_way: list[Fact], draw: random.Random) -> Fact | None:
    """One of those on the way, which may come again, or be lost; where none is left, the deadline."""
    if state is None:
        return on_the_way.pop()
    if state.phase is Phase.FROZEN and draw.random() < 0.5:
        return RoundAsked(Action.RESUME, "", "ada")
    chance = draw.random()
    if chance < 0.05:
        return RoundAsked(Action.FREEZE, "", "ada")
    if chance < 0.06 or (state.phase is Phase.FROZEN and chance < 0.3):
        return RoundAsked(Action.ABORT if state.revert else Action.REVERT, "", "ada")
    if not on_the_way:
        rounds.now = state.deadline or rounds.now
        return DeadlinePassed(state.transition)
    place = draw.randrange(len(on_the_way))
    fact = on_the_way[place]
    if chance > 0.15:
        del on_the_way[place]
    return fact if chance < 0.95 else None


def _looks(step: Any) -> bool:
    """What is undone is looked at again and again."""
    return isinstance(step, DatasetCutRequested) and step.request_id.endswith(Cut.STANDING)


def _require_sound(rounds: Rounds) -> None:
    state = rounds.states["r1"]
    rewrites = state.rewrites
    counts = (rewrites.requested, rewrites.ended, rewrites.tokens_charged, rewrites.money_charged, state.rows.measured)
    assert min(counts) >= 0
    asked = [step for step in rounds.steps() if not isinstance(step, RefiningRequested | RevertRequested) and not _looks(step)]
    assert len({repr(step) for step in asked}) == len(asked)
    pages = [step.first_row for step in rounds.steps() if isinstance(step, RefiningRequested)]
    assert pages == sorted(set(pages))


@given(seed=st.integers(0, 5), lost=st.integers(0, 2))
def test_the_same_facts_lead_to_the_same_state(seed, lost):
    """A replay, as after a kill, repeats states and steps."""
    ways = []
    for _ in range(2):
        rounds = Rounds()
        rounds.run(started(), Parts(lost=lost, selected=(seed, 1, 1)))
        ways.append((rounds.states, rounds.sent))
    assert ways[0] == ways[1]
