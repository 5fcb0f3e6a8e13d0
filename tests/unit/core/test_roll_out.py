"""The history of a model's roll-outs, folded from its topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut, RefusedStep
from headrace.core.roll_out import NoRollback, RollOuts, folded
from tests.fakes.bodies import BODIES


def told(version: int, checkpoint_id: str = "", request_id: str = "") -> CheckpointRolledOut:
    return CheckpointRolledOut(
        "signals", checkpoint_id or f"checkpoint-{version}", str(version), "", 1.0, 6, 1.0, 1.0, 1.0, None, request_id
    )


FIRST = CheckpointRolledOut("signals", "", "1", "", 1.0, 6, 0.0, 0.0, 1.0)


def after(*events: CheckpointRolledOut) -> RollOuts:
    return folded([FIRST, *events])["signals"]


def test_a_roll_out_moves_on_and_a_rollback_moves_back():
    """Going back twice ends at the version before both, not where it came from."""
    history = after(told(2), told(3))
    assert (history.present, history.way_back("")) == ("3", "2")
    history.take(told(2, request_id="r"))
    assert (history.present, history.way_back("")) == ("2", "1")
    assert history.answered == {"r"}
    history.take(told(1, checkpoint_id="", request_id="s"))
    assert history.present == "1"
    with pytest.raises(NoRollback, match="before the present one"):
        history.way_back("")


def test_a_rollback_names_a_checkpoint_that_was_rolled_out_and_is_not_the_present_one():
    """What was never there, or is there, is no way back."""
    history = after(told(2), told(3))
    assert history.way_back("checkpoint-2") == "2"
    with pytest.raises(NoRollback, match="never rolled out"):
        history.way_back("f" * 64)
    with pytest.raises(NoRollback, match="present"):
        history.way_back("checkpoint-3")


def test_a_refused_rollback_leaves_a_checkpoint_s_own_refusal():
    """Whichever step it failed at: both are told."""
    own = CheckpointRefused("signals", "c" * 64, RefusedStep.GOLDEN, "loss 99", 1.0)
    back = CheckpointRefused("signals", "c" * 64, RefusedStep.LOAD, "memory", 2.0, "request-1")
    earlier = CheckpointRefused("signals", "d" * 64, RefusedStep.ROLLBACK, "never rolled out", 2.0)
    history = folded([FIRST, own, back, earlier])["signals"]
    assert history.refused == {"c" * 64: own}
    assert history.not_gone_back == {"c" * 64: back, "d" * 64: earlier}


def test_numbers_follow_from_offsets_and_the_first_version():
    """The same at every attempt, and above what was there first."""
    history = folded([CheckpointRolledOut("m", "", "7", "", 1.0, 6, 0, 0, 1.0), told(3)])["m"]
    assert [history.number_for(offset) for offset in (0, 1, 5)] == [8, 9, 13]
    with pytest.raises(ValueError, match="no version"):
        RollOuts().number_for(0)


@given(st.data())
def test_the_topics_may_be_read_in_any_order_against_each_other(data):
    """Three readers, each in its own order, however their records interleave: one history."""
    published = [BODIES["CheckpointPublished"]]
    rolled_out = [FIRST, *(told(version) for version in data.draw(st.lists(st.integers(2, 6), max_size=8)))]
    refused = [CheckpointRefused("signals", "x", RefusedStep.LOAD, "no", 1.0), BODIES["CheckpointRefused"]]
    queues = [list(published), list(rolled_out), list(refused)]
    mixed = []
    while any(queues):
        queue = data.draw(st.sampled_from([each for each in queues if each]))
        mixed.append(queue.pop(0))
    assert folded(mixed) == folded([*published, *rolled_out, *refused])


@given(st.lists(st.integers(2, 6)))
def test_the_present_version_is_the_one_announced_last(versions):
    """Whatever came before, and no version is twice in the line."""
    history = after(*(told(version) for version in versions))
    assert history.present == str([1, *versions][-1])
    assert len(set(history.line)) == len(history.line)
