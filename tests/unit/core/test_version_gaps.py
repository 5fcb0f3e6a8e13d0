"""Places in a shard from which rows were removed: each row that is left keeps the one it was cut with."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.version_gaps import Gap, as_cut
from headrace.core.versions import RowKind, Shard

REMOVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.booleans()), max_size=8)


def shard(number: int, rows: int) -> Shard:
    return Shard(sha256=f"{number:064x}", rows=rows, size_bytes=1, raw_bytes=1, min_id="a", max_id="z")


def removed(rows: int, removals: list[tuple[int, int, bool]]) -> tuple[list[int], dict[str, Gap]]:
    """The places that are left after removals (which row, how many, whether a record says which), and the records."""
    left, gaps = [*range(rows)], dict[str, Gap]()
    for number, (at, count, is_told) in enumerate(removals):
        if left:
            first, before = at % len(left), shard(number, len(left))
            gone = len(left[first : first + count])
            del left[first : first + count]
            gaps[before.sha256] = Gap(
                dataset="maths", kind=RowKind.ACCEPTED, shard=before.sha256, rows=gone, first_row=first if is_told else None,
                replacement=shard(number + 1, len(left)) if left else None, sample_sha256="0" * 64,
            )  # fmt: skip
    return left, gaps


@given(rows=st.integers(1, 20), removals=REMOVALS)
def test_rows_that_are_left_keep_their_places(rows, removals):
    """Whatever was removed, one after the other: the place behind each row, and the rows before each place, are those as cut."""
    left, gaps = removed(rows, [(at, count, True) for at, count, _ in removals])
    found = as_cut(shard(0, rows), gaps)
    assert (found.left.rows if found.left else 0) == len(left)
    assert found.is_exact
    if found.left is not None:
        assert list(found.places_behind(range(len(left)))) == [place + 1 for place in left]
        for place in range(rows + 1):
            assert found.rows_before(place) == sum(each < place for each in left)


@given(rows=st.integers(1, 20), removals=REMOVALS)
def test_where_records_do_not_say_which_rows_went_none_is_passed_over(rows, removals):
    """Whoever goes on from a place as cut gets all rows behind it, and from a place told since exactly those behind it."""
    left, gaps = removed(rows, removals)
    found = as_cut(shard(0, rows), gaps)
    assert found.is_exact == (found.left is None or all(gap.first_row is not None for gap in gaps.values()))
    if found.left is not None:
        for place in range(rows + 1):
            assert found.rows_before(place) <= sum(each < place for each in left)
        places = found.places_behind(range(len(left)))
        assert [found.rows_before(place) for place in places] == [*range(1, len(left) + 1)]
