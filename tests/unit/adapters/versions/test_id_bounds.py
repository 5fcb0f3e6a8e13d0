"""Which shards a condition can leave out by their sample ids."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.adapters.versions.id_bounds import may_hold

IDS = [f"{letter}{number}" for letter in "abcd" for number in range(3)]


def holds(condition: str, low: str, high: str, columns: str = "*") -> bool:
    with duckdb.connect(":memory:", config={"autoload_known_extensions": False}) as connection:
        return may_hold(connection, f"SELECT\n{columns}\nFROM rows\nWHERE (\n{condition}\n)")(low, high)


@pytest.mark.parametrize(
    "condition",
    [
        "sample_id = 'z'", "'z' = sample_id", "SAMPLE_ID > 'z'", "rows.sample_id < 'a'", "'z' <= sample_id", "'a' > sample_id",
        "sample_id BETWEEN 'x' AND 'z'", "sample_id IN ('a', 'z')", "sample_id = 'b1' AND sample_id = 'z'",
        "sample_id = 'z' OR sample_id < 'a'", "sample_id = 'z' -- a comment",
    ],
)  # fmt: skip
def test_shards_beyond_the_bound_are_left_out(condition):
    """Equality, order, ranges and lists of texts, also joined."""
    assert not holds(condition, "b1", "c1")


@pytest.mark.parametrize(
    "condition",
    [
        "sample_id = 'c1'", "sample_id <> 'b1'", "NOT sample_id = 'z'", "sample_id NOT IN ('b1', 'z')", "sample_id LIKE 'z%'",
        "sample_id NOT BETWEEN 'a' AND 'd'", "lower(sample_id) = 'z'", "sample_id = 'z' OR loss_mean > 1", "sample_id = reason",
        "sample_id IN ('z', reason)", "other.sample_id = 'z'", "sample_id > 7", "not even sql (",
        "sample_id = 'z' AND loss_mean > (SELECT avg(loss_mean) FROM rows)", "EXISTS (SELECT 1) AND sample_id = 'z'",
        "sample_id = 'z') UNION SELECT * FROM rows WHERE (true", "sample_id = 'z'); SELECT (1",
    ],
)  # fmt: skip
def test_what_does_not_bound_ids_leaves_nothing_out(condition):
    """Neither does what reads rows of its own, nor what cannot be understood."""
    assert holds(condition, "b1", "c1")


def test_a_query_among_the_columns_reads_all_rows():
    """A condition says nothing of what it counts."""
    assert holds("sample_id = 'z'", "b1", "c1", columns="(SELECT count(*) FROM rows)")
    assert not holds("sample_id = 'z'", "b1", "c1", columns="count(*)")


_COMPARED = st.builds("sample_id {} '{}'".format, st.sampled_from(["=", "<", "<=", ">", ">=", "<>"]), st.sampled_from(IDS))
_RANGES = st.builds("sample_id BETWEEN '{}' AND '{}'".format, st.sampled_from(IDS), st.sampled_from(IDS))
_CONDITIONS = st.recursive(
    _COMPARED | _RANGES,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner) | st.builds("NOT ({})".format, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=30)
@given(condition=_CONDITIONS, span=st.tuples(st.integers(0, len(IDS) - 1), st.integers(0, len(IDS) - 1)))
def test_no_row_is_lost(condition, span):
    """What the engine finds among ids of a span is in no shard that was left out."""
    low, high = min(span), max(span)
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE rows AS SELECT unnest($ids) AS sample_id", {"ids": IDS[low : high + 1]})
        found = connection.sql("SELECT * FROM rows").filter(condition).fetchall()
    assert holds(condition, IDS[low], IDS[high]) or not found
