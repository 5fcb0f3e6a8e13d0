"""Which dead letters were answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.delivery.answered import METADATA_CHARS_MAX, Answered, TooScattered


@given(st.integers(0, 50), st.lists(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 9)), max_size=5), max_size=4))
def test_what_is_kept_beside_the_offset_is_read_back(up_to: int, times: list[list[tuple[int, int]]]) -> None:
    """All before the mark is answered, beyond it what was named, and nothing else, however often and in whatever order."""
    done, offsets = Answered(up_to), set(range(up_to))
    for spans in times:
        done = done.and_then((range(first, first + count) for first, count in spans), up_to)
        offsets.update(*(range(first, first + count) for first, count in spans))
    assert Answered.read(done.up_to, done.metadata()) == Answered.of_text(done.text()) == done
    assert {offset for offset in range(120) if offset in done} == offsets


def test_a_mark_is_as_earlier_releases_left_it() -> None:
    """Nothing beside it, or first and last offsets."""
    assert Answered.read(7, "") == Answered(7)
    assert Answered(3, (range(5, 8), range(9, 10))).metadata() == "5-7,9"


def test_a_million_letters_behind_one_are_as_small_as_one() -> None:
    """What is told as one span is held as one."""
    done = Answered.read(3, "5-1000000")
    assert (done.beyond, 1_000_000 in done, 1_000_001 in done) == ((range(5, 1_000_001),), True, False)


def test_too_many_out_of_order_are_refused() -> None:
    """Rather than forgotten by the broker."""
    with pytest.raises(TooScattered, match="oldest ones first"):
        Answered(0, tuple(range(offset, offset + 1) for offset in range(1, METADATA_CHARS_MAX * 2, 2))).metadata()
