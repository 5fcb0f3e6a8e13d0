"""Lines out of pieces, plain and packed."""

import gzip
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.refusals import Refused
from services.gateway.json_lines import Gunzip, LineSplitter

BODIES = st.lists(st.sampled_from([b"a", b"\n", b"bb", b" ", b"\r", b"\n\n", b"cccccc"]), max_size=40)


def split(pieces, limit=1_000):
    splitter = LineSplitter(limit)
    return [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.finish())


@given(BODIES)
def test_lines_do_not_depend_on_the_pieces(pieces):
    """Wherever a body is cut, its lines are the same, with the same numbers."""
    body = b"".join(pieces)
    expected = [(number, raw) for number, raw in enumerate(body.split(b"\n"), 1) if raw.strip()]
    assert [(line.number, line.raw) for line in split(pieces)] == expected
    assert [(line.number, line.raw) for line in split([body])] == expected


@given(BODIES)
def test_a_line_over_the_limit_is_named_and_not_kept(pieces):
    """One of exactly the limit passes; what follows an overlong one is not harmed."""
    expected = [
        (number, raw if len(raw) <= 4 else None)
        for number, raw in enumerate(b"".join(pieces).split(b"\n"), 1)
        if raw.strip() or len(raw) > 4
    ]
    assert [(line.number, line.raw) for line in split(pieces, 4)] == expected


@given(st.lists(st.binary(max_size=50), max_size=4), st.integers(1, 60))
def test_gzip_does_not_depend_on_the_pieces(members, size):
    """Members follow each other as one body, wherever the packed bytes are cut."""
    packed = b"".join(gzip.compress(member) for member in members)
    unpacker = Gunzip(10_000, 200)
    pieces = [piece for at in range(0, len(packed), size) for piece in unpacker.feed(packed[at : at + size])]
    unpacker.finish()
    assert b"".join(pieces) == b"".join(members)


def test_a_piece_is_bounded_whatever_the_ratio():
    """No more than 64 KiB is unpacked at a time: others wait for as long as its lines take."""
    packed = gzip.compress(bytes(1024 * 1024))
    assert max(len(piece) for piece in Gunzip(10**9, 10_000).feed(packed)) <= 64 * 1024


def test_empty_lines_cost_next_to_nothing():
    """No step of ours is made for one, and yet all are counted: a packed body may hold hundreds of millions."""
    steps = 0

    def count(_, event, __):
        nonlocal steps
        steps += event == "call"

    sys.setprofile(count)
    try:
        found = split([b"\n" * 10_000, b"\n" * 10_000 + b"x"])
    finally:
        sys.setprofile(None)
    assert [(line.number, line.raw) for line in found] == [(20_001, b"x")]
    assert steps < 50


def test_a_high_ratio_of_a_small_body_is_no_bomb():
    """Repetitive logs pack well; only what grows large is suspected."""
    packed = gzip.compress(bytes(900_000))
    assert sum(len(piece) for piece in Gunzip(10**9, 2).feed(packed)) == 900_000


def test_nothing_is_an_empty_body_and_half_of_a_member_is_not():
    """What never began has ended well."""
    Gunzip(10, 2).finish()
    unpacker = Gunzip(10, 2)
    list(unpacker.feed(gzip.compress(b"x")[:5]))
    with pytest.raises(Refused) as caught:
        unpacker.finish()
    assert caught.value.code == "bad_gzip"
