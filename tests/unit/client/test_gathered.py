"""The table of gathered samples: the latest revision of each, the same ones held out every time, rows and position together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.client.gathered import Gathered
from headrace.core.fine_tuning import is_held_out

SHARE = 0.3


@pytest.fixture
def gathered(tmp_path):
    with Gathered(tmp_path / "table.sqlite", "seed") as table:
        yield table


def ids(rows):
    return [sample_id for sample_id, _, _ in rows]


def test_a_later_revision_replaces_an_earlier_one(gathered):
    """Whatever the order of arrival, the highest revision stands; a retraction takes back what it covers and no more."""
    for revision in (1, 0, 2, 1):
        gathered.accept("a", revision, f"text {revision}")
    assert [*gathered.trained(0)] == [("a", 2, "text 2")]
    gathered.retract("a", 1)
    assert gathered.counts(0) == (1, 0)
    gathered.retract("a", 2)
    gathered.retract("never there", 5)
    assert gathered.counts(0) == (0, 0)
    gathered.accept("a", 3, "again")
    assert ids(gathered.trained(0)) == ["a"]


def test_training_and_holding_out_share_everything(gathered):
    """Every sample is in exactly one of the two, as the hash of its id says."""
    names = [f"sample-{number}" for number in range(500)]
    for name in names:
        gathered.accept(name, 0)
    trained, held_out = ids(gathered.trained(SHARE)), ids(gathered.held_out(SHARE))
    assert sorted(trained + held_out) == sorted(names)
    assert set(held_out) == {name for name in names if is_held_out(name, SHARE, "seed")}
    assert gathered.counts(SHARE) == (len(trained), len(held_out))
    assert 100 < len(held_out) < 200
    assert ids(gathered.trained(SHARE, 7)) == trained[:7]
    assert trained != sorted(trained)


def test_what_is_not_kept_is_forgotten_whole(tmp_path):
    """Rows and position are written at once: whoever dies in between finds the table as it was kept last."""
    path = tmp_path / "table.sqlite"
    with Gathered(path, "") as table:
        table.accept("a", 0)
        table.keep(position="one")
        table.accept("b", 0)
        table.retract("a", 0)
    with Gathered(path, "") as table:
        assert (ids(table.trained(0)), table.fact("position"), table.fact("other")) == (["a"], "one", "")


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1), st.text(max_size=4))
@settings(max_examples=200)
def test_a_larger_share_holds_out_no_fewer(sample_id, share, other, seed):
    """What a small share holds out, a larger one does too; none of it holds out nothing."""
    small, large = sorted((share, other))
    assert not is_held_out(sample_id, 0.0, seed)
    assert is_held_out(sample_id, large, seed) or not is_held_out(sample_id, small, seed)


def test_another_seed_holds_out_others():
    """The choice depends on the seed, and is spread evenly."""
    names = [f"sample-{number}" for number in range(4_000)]
    one, two = ({name for name in names if is_held_out(name, 0.1, seed)} for seed in ("one", "two"))
    assert one != two
    assert 320 < len(one) < 480
