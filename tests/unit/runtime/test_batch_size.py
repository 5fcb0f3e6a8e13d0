"""How many records a hop takes at a time."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.delivery.batch_size import BatchSize


def test_full_and_quick_batches_double_it_up_to_the_bound() -> None:
    """A handler that is far quicker than what is aimed at gets more, never beyond the most."""
    size = BatchSize(24, 100, s_aim=5.0)
    seen = []
    for _ in range(4):
        seen.append(size.records)
        size.took(size.records, 0.1)
    assert seen == [24, 48, 96, 100]


def test_what_came_in_few_says_nothing_about_more() -> None:
    """A quick batch that was not full leaves the size as it is."""
    size = BatchSize(24, 100, s_aim=5.0)
    size.took(23, 0.1)
    assert size.records == 24


def test_a_slow_batch_halves_it_down_to_the_bound() -> None:
    """However slow a handler is, it gets the least."""
    size = BatchSize(24, 100, s_aim=5.0)
    size.took(24, 0.1)
    size.took(48, 5.1)
    assert size.records == 24
    size.took(24, 500.0)
    assert size.records == 24


@given(least=st.integers(1, 500), most=st.integers(1, 500), s_record=st.floats(1e-5, 10.0), s_aim=st.floats(0.1, 60.0))
def test_it_settles_where_a_batch_takes_about_what_is_aimed_at(least: int, most: int, s_record: float, s_aim: float) -> None:
    """With equal records that never cease it comes to rest: at a bound, or between a half and the whole of the aim."""
    size = BatchSize(least, most, s_aim)
    for _ in range(12):
        size.took(size.records, size.records * s_record)
        assert min(least, most) <= size.records <= most
    before, took_s = size.records, size.records * s_record
    size.took(before, took_s)
    assert size.records == before
    assert took_s <= s_aim or before == min(least, most)
    assert 2 * took_s > s_aim or before == most
