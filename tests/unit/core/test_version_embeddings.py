"""Which models' embeddings are carried on."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.version_embeddings import VERSIONS_CARRIED, carried

GROUPS = st.tuples(st.sampled_from(["smol", "other"]), st.sampled_from(["1", "2", "3", "10", "11", "base"]), st.just(4))


@given(st.dictionaries(GROUPS, st.integers(1, 9)), st.sets(GROUPS))
def test_the_new_the_latest_and_the_largest_stay(rows, fresh):
    """And no others: at most so many numbered versions of a model, beside those with new rows and the one with most."""
    stay = carried(rows, fresh & rows.keys())
    assert fresh & rows.keys() <= stay <= rows.keys()
    if not fresh & rows.keys():
        assert stay == rows.keys()
        return
    assert max(rows.values()) in {rows[group] for group in stay}
    for model in ("smol", "other"):
        numbers = sorted((int(version) for name, version, _ in rows if name == model and version != "base"), reverse=True)
        left = {int(version) for name, version, _ in stay - fresh if name == model and version != "base"}
        assert set(numbers[:VERSIONS_CARRIED]) - {int(v) for n, v, _ in fresh if n == model and v != "base"} <= left
        assert len(left) <= VERSIONS_CARRIED + 1
    assert {group for group in rows if group[1] == "base"} <= stay


def test_numbers_are_compared_as_numbers():
    """Version 10 is later than 9."""
    rows = {("smol", str(number), 4): 1 for number in (8, 9, 10, 11)} | {("smol", "11", 4): 5}
    assert carried(rows, {("smol", "11", 4)}) == {("smol", version, 4) for version in ("9", "10", "11")}
