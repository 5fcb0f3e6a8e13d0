"""Position tokens: read back as written, and refused with the reason where they are anything else."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.positions import FORMAT, BadPosition, Position, is_token, position_from, require_share

POSITION = Position("maths", (1, 4), "9f" * 32, 3, 17, {1: 5, 5: 0}, {1: 9})
numbers = st.integers(0, 2**62)
offsets = st.dictionaries(st.integers(0, 1023), numbers, max_size=20)
positions = st.builds(
    Position,
    st.just("maths"),
    st.integers(1, 64).flatmap(lambda of: st.tuples(st.integers(0, of - 1), st.just(of))),
    st.sampled_from(["", "0a" * 32]),
    numbers,
    numbers,
    offsets,
    offsets,
    offsets,
    offsets,
)


def forged(body: object, written: int = FORMAT) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
    return f"hr{written}.{payload}.{hashlib.sha256(f'hr{written}.{payload}'.encode()).hexdigest()[:16]}"


@given(positions)
def test_a_token_is_read_back_as_written(position):
    """Every field, and one text for one position."""
    token = position.token()
    assert is_token(token)
    assert position_from(token, "maths", position.share) == position
    assert position_from(token).token() == token


def test_a_token_is_short_plain_text():
    """It goes into a checkpoint's JSON, a shell and a log line as it is."""
    token = Position("maths", offsets={number: 10**9 + number for number in range(4)}).token()
    assert len(token) < 200
    assert token.replace(".", "").replace("-", "").replace("_", "").isalnum()


@given(st.data())
def test_a_changed_token_is_refused(data):
    """One character is enough."""
    token = POSITION.token()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from([c for c in "aZ09-_.x" if c != token[at]]))
    with pytest.raises(BadPosition):
        position_from(token[:at] + other + token[at + 1 :])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no position token"),
        ("beginning", "no position token"),
        (POSITION.token()[:-3], "cut off"),
        ("x" * 10**6, "no position token"),
        (POSITION.token().replace(".", ".A", 1), "garbled"),
        (forged({"dataset": "maths"}, FORMAT + 1), "update headrace"),
        (forged({"dataset": "../etc"}), "lower-case"),
        (forged({"dataset": "maths", "share": [4, 4]}), "share"),
        (forged({"dataset": "maths", "offsets": {"0": -1}}), "holds no position"),
        (forged({"dataset": "maths", "version": "latest"}), "holds no position"),
        (forged([[[]]]), "holds no position"),
    ],
)
def test_what_is_no_position_is_refused_with_the_reason(text, told):
    """Cut off, altered, forged, or written by a newer release."""
    with pytest.raises(BadPosition, match=told):
        position_from(text)


def test_a_position_of_another_dataset_or_share_is_refused():
    """A checkpoint of one run does not resume another."""
    with pytest.raises(BadPosition, match="belongs to dataset maths, not physics"):
        position_from(POSITION.token(), "physics")
    with pytest.raises(BadPosition, match="part 1 of 4, not part 0 of 4"):
        position_from(POSITION.token(), "maths", (0, 4))


@pytest.mark.parametrize("share", [(0, 0), (1, 1), (-1, 2)])
def test_an_impossible_share_is_refused(share):
    """A part counts from 0."""
    with pytest.raises(ValueError, match="index"):
        require_share(share)
