"""What readers have read together, from where each stands: ranges that begin where reading began, versions to the row."""

from dataclasses import replace

import pytest

from headrace.core.checkpoints import PositionRange, TrainingData, VersionPart
from headrace.core.positions import BadPosition, Position
from headrace.core.read_parts import STATE_TYPE, read_since

VERSION = "9f" * 32
FROM_NOW = Position("math", offsets={0: 31, 1: 40}, since={0: 30, 1: 40})
WITHIN = Position("math", version=VERSION, shard=2, row=17)
BEHIND = Position("math", version=VERSION, shard=3, row=5, offsets={0: 9, 1: 4}, since={0: 2, 1: 4}, repeats={0: 7, 1: 4})


def state(position: Position | None) -> dict[str, object]:
    """As `datasets` nests it, the place before a batch beside the present one."""
    innermost = {"position": None if position is None else position.token(), "type": STATE_TYPE}
    before = {"position": None, "type": STATE_TYPE}
    return {"examples_iterable": {"examples_iterable": innermost, "previous_state": before, "type": "Mapped"}, "epoch": 0}


def test_records_count_from_where_reading_began():
    """One record since "now", though thirty were there before; nothing of a partition in which none came."""
    assert read_since(FROM_NOW) == TrainingData("math", positions=(PositionRange(0, 30, 31),))
    assert read_since(FROM_NOW.token()) == read_since(FROM_NOW)


def test_a_token_of_an_earlier_release_counts_from_the_beginning():
    """It does not say where reading began."""
    assert read_since(Position("math", offsets={0: 31})).positions == (PositionRange(0, 0, 31),)


def test_a_run_of_its_own_from_a_token_counts_what_came_behind_it():
    """Where the run before is no part of the weights."""
    second = replace(FROM_NOW, offsets={0: 35, 1: 41})
    assert read_since(second).positions == (PositionRange(0, 30, 35), PositionRange(1, 40, 41))
    assert read_since(second, FROM_NOW.token()).positions == (PositionRange(0, 31, 35), PositionRange(1, 40, 41))
    assert read_since(WITHIN, replace(WITHIN, shard=1, row=3)).version_parts == (VersionPart((0, 1), (1, 3), (2, 17)),)
    assert read_since(BEHIND, replace(BEHIND, offsets={0: 8, 1: 4})) == TrainingData("math", positions=(PositionRange(0, 8, 9),))


def test_a_place_within_a_version_names_shard_and_row():
    """And one behind it the whole version, with the records that were not passed over because it holds them."""
    assert read_since(WITHIN) == TrainingData("math", VERSION, version_parts=(VersionPart((0, 1), (0, 0), (2, 17)),))
    assert read_since(state(WITHIN)) == read_since(WITHIN)
    assert read_since(BEHIND) == TrainingData("math", VERSION, (PositionRange(0, 2, 9, (0, 1), 7),))


def test_parts_are_put_together():
    """In any order; a worker that has not begun has read nothing; two that are through have read the whole version."""
    one, other = replace(WITHIN, share=(0, 2)), replace(BEHIND, share=(1, 2))
    together = TrainingData(
        "math", VERSION, (PositionRange(0, 2, 9, (1, 2), 7),),
        version_parts=(VersionPart((0, 2), (0, 0), (2, 17)), VersionPart((1, 2))),
    )  # fmt: skip
    assert read_since([state(other), one.token()]) == together
    assert read_since({"workers": [state(one), state(other)]}) == together
    assert read_since([state(one), state(None)]).version_parts == (VersionPart((0, 2), (0, 0), (2, 17)),)
    assert read_since([replace(BEHIND, share=(0, 2), offsets={0: 9}), other]).version_parts == ()


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([], "nothing was read"),
        (state(None), "nothing was read"),
        (replace(WITHIN, share=(1, 2)), "part 0 of 2 is missing"),
        ([replace(WITHIN, share=(0, 2)), replace(WITHIN, share=(0, 2), row=18)], "given twice"),
        ([replace(WITHIN, share=(0, 2)), replace(WITHIN, share=(1, 2), dataset_id="code")], "different datasets"),
        ([replace(WITHIN, share=(0, 2)), replace(WITHIN, share=(1, 2), version="0a" * 32)], "different versions"),
        ([replace(WITHIN, share=(0, 2)), replace(WITHIN, share=(1, 3))], "different numbers of parts"),
    ],
)
def test_what_is_not_one_reading_is_refused(places, told):
    """Rather than to name too few rows."""
    with pytest.raises(ValueError, match=told):
        read_since(places)


def test_a_garbled_token_is_refused():
    """In a state too."""
    with pytest.raises(BadPosition):
        read_since({"position": "hr1.x", "type": STATE_TYPE})
