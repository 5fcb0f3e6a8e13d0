"""Dividing sources among readers: disjoint, complete, and nobody is left without."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.sharing import Slice, slices_of


@given(st.integers(1, 40), st.integers(1, 200))
def test_parts_are_disjoint_and_complete(sources, of):
    """Every slice of every source is in one part; each part has one, and none has three of what is divided."""
    parts = [slices_of(sources, (index, of)) for index in range(of)]
    taken = [(source, part) for each in parts for source, part in each.items()]
    wholes = {part.of for _, part in taken}
    assert len(wholes) == 1
    assert sorted(taken, key=repr) == sorted(((s, Slice(i, *wholes)) for s in range(sources) for i in range(*wholes)), key=repr)
    assert all(parts)
    assert of <= sources or all(len(each) <= 2 for each in parts)


@given(st.binary(), st.integers(1, 50))
def test_a_sample_is_in_one_slice(sample_id, of):
    """Always in the same one."""
    assert sum(Slice(index, of).has(sample_id) for index in range(of)) == 1


def test_without_sources_there_is_nothing():
    """A version without rows."""
    assert slices_of(0, (2, 3)) == {}
