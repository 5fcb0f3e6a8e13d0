"""Which dead letters were answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.delivery.answered import METADATA_CHARS_MAX, Answered, TooScattered


@given(st.integers(0, 50), st.frozensets(st.integers(0, 100)))
def test_what_is_kept_beside_the_offset_is_read_back(up_to: int, offsets: frozenset[int]) -> None:
    """All before the mark is answered, beyond it what was named, and nothing else."""
    done = Answered(0).and_then(offsets, up_to)
    assert Answered.read(up_to, done.metadata()) == done
    assert {offset for offset in range(120) if offset in done} == {*range(up_to), *offsets}


def test_a_mark_without_anything_beside_it_is_read() -> None:
    """As earlier releases left it."""
    assert Answered.read(7, "") == Answered(7)
    assert Answered(3, frozenset({5, 6, 7, 9})).metadata() == "5-7,9"


def test_too_many_out_of_order_are_refused() -> None:
    """Rather than forgotten by the broker."""
    with pytest.raises(TooScattered, match="oldest ones first"):
        Answered(0, frozenset(range(1, METADATA_CHARS_MAX * 2, 2))).metadata()
