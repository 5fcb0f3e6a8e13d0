"""How pieces are laid in rows: whatever their lengths, none is lost, and no row is longer than it may be."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.lm.conversations import Tokens
from headrace.lm.packing import cut, packed, rows_of

LENGTHS = st.lists(st.integers(0, 40), max_size=30)
LIMITS = st.integers(1, 60)
WORKERS = st.integers(1, 5)


@dataclass(frozen=True)
class Long:
    index: int
    length: int


@given(LENGTHS, LIMITS, WORKERS)
def test_rows_hold_every_piece_once_within_the_limit(lengths, tokens_max, workers):
    """A row is longer than the limit only where it is one piece; by their indices the pieces are in the request's order again."""
    pieces = [Long(index, length) for index, length in enumerate(lengths)]
    rows = rows_of(pieces, tokens_max=tokens_max, workers=workers)
    assert all(rows)
    for row in rows:
        assert sum(piece.length for piece in row) <= tokens_max or len([piece for piece in row if piece.length]) == 1
    laid = [piece for row in rows for piece in row]
    assert sorted(laid, key=lambda piece: piece.index) == pieces
    assert all(before.length >= after.length for before, after in pairwise(laid))


@given(LENGTHS, LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_the_request_does_not_matter(lengths, tokens_max, chance):
    """Rows follow from lengths and indices alone."""
    pieces = [Long(index, length) for index, length in enumerate(lengths)]
    mixed = chance.sample(pieces, len(pieces))
    assert rows_of(mixed, tokens_max=tokens_max, workers=2) == rows_of(pieces, tokens_max=tokens_max, workers=2)


@given(LENGTHS, LIMITS, st.integers(2, 5))
def test_several_workers_have_more_rows_to_share(lengths, tokens_max, workers):
    """No row holds more than its share of the work, if it is more than one piece that would do so."""
    pieces = [Long(index, length) for index, length in enumerate(lengths)]
    share = max(sum(lengths) // (2 * workers), max(lengths, default=0))
    assert all(sum(piece.length for piece in row) <= share for row in rows_of(pieces, tokens_max=tokens_max, workers=workers))


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=20), LIMITS, WORKERS)
def test_packs_hold_the_tokens_that_were_cut(halves, tokens_max, workers):
    """Every token up to the limit is there once, the prompt's first; borders and positions are those of the pieces."""
    number = iter(range(10_000))
    tokens = [Tokens([next(number) for _ in range(first)], [next(number) for _ in range(second)]) for first, second in halves]
    pieces = [cut(index, each, tokens_max) for index, each in enumerate(tokens)]
    for piece, each in zip(pieces, tokens, strict=True):
        whole = each.prompt + each.response
        assert piece.tokens.prompt + piece.tokens.response == whole[:tokens_max]
        assert piece.truncated == (len(whole) > tokens_max)
    packs = packed(pieces, tokens_max=tokens_max, workers=workers)
    assert all(len(pack.ids) <= tokens_max for pack in packs)
    assert Counter(token for pack in packs for token in pack.ids) == Counter(
        token for piece in pieces for token in piece.tokens.prompt + piece.tokens.response
    )
    for pack in packs:
        for piece, (begin, end) in zip(pack.pieces, pairwise(pack.borders), strict=True):
            assert pack.ids[begin:end] == piece.tokens.prompt + piece.tokens.response
            assert pack.positions[begin:end] == list(range(end - begin))
        answers = [token for piece in pack.pieces for token in piece.tokens.response]
        assert [pack.ids[place + 1] for place in pack.predicting] == answers
