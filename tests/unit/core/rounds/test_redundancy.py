"""Who leaves for the scale to be held: the redundant, never the last of a neighbourhood."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.rounds.densities import nearest
from headrace.core.rounds.redundancy import Neighbouring, most_redundant


def neighbouring(vectors: np.ndarray, k: int = 2, **flags: list[int]) -> Neighbouring:
    count = len(vectors)
    found = nearest(vectors, 0, count, k)
    rows = found.rows if found else np.empty((count, 0), dtype=np.int64)
    cosines = found.cosines if found else np.empty((count, 0))
    density = found.densities if found else np.full(count, np.nan)
    marked = {name: np.isin(np.arange(count), flags.get(name, [])) for name in ("model_written", "kept", "apart")}
    return Neighbouring(rows, cosines, density, **marked)


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(np.array(degrees))
    found: np.ndarray = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    return found


def test_the_closest_pair_gives_up_one_first():
    """Of three pairs the closest pays first, then the next; the loosest, looser than usual, not at all."""
    rows = neighbouring(at(0, 1, 60, 63, 120, 150), k=1)
    assert [row // 2 for row in most_redundant(rows, 6)] == [0, 1]
    assert most_redundant(rows, 1) == most_redundant(rows, 6)[:1]
    assert most_redundant(rows, 0) == []


def test_copies_leave_one_of_them():
    """Of many copies all but one can leave, though each lists but two others as its neighbours."""
    rows = neighbouring(np.repeat(at(0, 90), 5, axis=0))
    left = set(range(10)) - set(most_redundant(rows, 10))
    assert len(left & set(range(5))) == len(left & set(range(5, 10))) == 1


def test_what_a_model_wrote_leaves_before_what_people_wrote():
    """Of a pair the model's row leaves; of equally close pairs the one with such a row comes first."""
    rows = neighbouring(at(0, 0, 90, 90), k=1, model_written=[2])
    assert most_redundant(rows, 1) == [2]
    assert most_redundant(neighbouring(at(0, 0), k=1, model_written=[0]), 2) == [0]


def test_nobody_leaves_for_one_who_is_not_there():
    """A held-out, replaced or retracted copy is no reason to go; a kept one is."""
    assert most_redundant(neighbouring(at(0, 0), k=1, apart=[1]), 2) == []
    assert most_redundant(neighbouring(at(0, 0), k=1, kept=[1]), 2) == [0]
    assert most_redundant(neighbouring(at(0, 0), k=1, kept=[0, 1]), 2) == []


def test_rows_without_neighbours_stay():
    """One row, none, or rows without embeddings: nothing is known to be redundant."""
    for count in (0, 1):
        assert most_redundant(neighbouring(at(*range(count))), 5) == []
    nothing = np.full((3, 2), -1), np.full((3, 2), np.nan), np.full(3, np.nan)
    assert most_redundant(Neighbouring(*nothing, *(np.zeros(3, dtype=bool) for _ in range(3))), 5) == []


@settings(max_examples=100)
@given(st.integers(0, 40), st.integers(1, 3), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_whoever_leaves_has_a_neighbour_that_stays(count, k, wanted, seed):
    """Never more than asked for, never one that is kept or apart; and asking for less gives a beginning of more."""
    choose = np.random.default_rng(seed)
    vectors = at(*choose.choice(choose.uniform(0, 180, size=max(1, count // 2 + 1)), size=count))
    marked = {name: np.flatnonzero(choose.random(count) < 0.2).tolist() for name in ("model_written", "kept", "apart")}
    rows = neighbouring(vectors, k, **marked)
    leaving = most_redundant(rows, wanted)
    assert len(leaving) <= wanted
    assert len(set(leaving)) == len(leaving)
    assert not set(leaving) & {*marked["kept"], *marked["apart"]}
    there = set(range(count)) - set(leaving) - set(marked["apart"])
    for row in leaving:
        linked = {*rows.neighbours[row].tolist(), *np.flatnonzero((rows.neighbours == row).any(axis=1)).tolist()}
        assert linked & there
    assert most_redundant(rows, wanted + 3)[: len(leaving)] == leaving
