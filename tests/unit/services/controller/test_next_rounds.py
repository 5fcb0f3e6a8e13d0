"""What begins with the checkpoint of a round that was kept."""

from dataclasses import replace

import pytest

from headrace.core.policies import Policy, TrainingRules
from headrace.core.rounds.facts import RoundProgressed, RoundStarted
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.state import Phase
from headrace.core.topics import ROUND_PROGRESSED
from tests.fakes.round_parts import NEXT_VERSION, SURVEY, Parts, started
from tests.fakes.round_parts import Rounds as Machine
from tests.unit.services.controller.test_rounds import World, fact_in, states_in


def policy_of(rounds, base, share):
    policy = Policy(rounds=RoundPolicy.model_validate(rounds))
    training = TrainingRules(held_out_share=share, held_out_seed=SURVEY.held_out_seed)
    signals = policy.signals.model_copy(update={"base_model": base})
    return policy.model_copy(update={"signals": signals, "training": training})


async def rounds_after(start, policy):
    """What begins once the round that began so is kept."""
    world, machine = World(policy), Machine()
    facts = [start]
    waiting = list(machine.take(start))
    while waiting:
        for fact in Parts().answer(waiting.pop(0)):
            facts.append(RoundProgressed("arithmetic", "r1", fact))
            waiting += machine.tell(fact)
    sends = await world.facts(*facts)
    [state] = states_in(sends)
    assert state.phase is Phase.KEPT
    return [fact_in(send) for send in sends[-1] if send.topic == ROUND_PROGRESSED]


@pytest.mark.parametrize("base", ["signals", None])
async def test_a_kept_round_s_checkpoint_begins_the_next_one(base, caplog):
    """On the version that it was trained on, under the policy as it stands now; the first version stays the base."""
    [begun] = await rounds_after(started(), policy_of({"start": "checkpoint"}, base, 0.1))
    survey = begun.survey
    assert (survey.version, survey.model_version, survey.base_model_version) == (NEXT_VERSION, "3", "1")
    assert begun.version_sequence == 6
    assert "base" not in caplog.text


@pytest.mark.parametrize(("rounds", "base", "share", "told"), [
    ({"start": "manual"}, "signals", 0.1, ""),
    ({"start": "checkpoint"}, None, 0.2, "holds out other prompts by now"),
    ({"start": "checkpoint"}, "another", 0.1, "names another as the base by now"),
    ({"start": "checkpoint", "mode": "middo_compat", "base": "none"}, None, 0.1, "compares the losses of two models"),
])  # fmt: skip
async def test_a_policy_that_moved_on_begins_none_and_says_why(rounds, base, share, told, caplog):
    """It holds out more than the checkpoint does, or needs a base that was not measured with: the round is kept all the same."""
    assert await rounds_after(started(), policy_of(rounds, base, share)) == []
    assert told in caplog.text
    assert ("no round of arithmetic follows round r1" in caplog.text) == bool(told)


@pytest.mark.parametrize(("base", "is_told"), [("first", True), ("none", False)])
async def test_a_base_that_the_round_before_had_not_is_missed_aloud(base, is_told, caplog):
    """Only who begins a round himself asks the model server for the first version; the next one goes without, and says so."""
    fact = started().fact
    assert isinstance(fact, RoundStarted)
    without = replace(fact, survey=replace(fact.survey, base_model="", base_model_version=""))
    start = RoundProgressed("arithmetic", "r1", without)
    [begun] = await rounds_after(start, policy_of({"start": "checkpoint", "base": base}, None, 0.1))
    assert (begun.survey.base_model, begun.survey.base_model_version) == ("", "")
    assert ("begins without a base: round r1 had none" in caplog.text) == is_told
