"""Waits between tries."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.chat.back_off import back_off_s, retry_after_s

NOON = 1_767_225_600.0


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_doubles_up_to_its_bound_and_at_most_half_is_left_to_chance(failures, draw):
    """Clients that failed together do not come back together."""
    wait = back_off_s(failures, 0.5, 30.0, lambda: draw)
    whole = min(30.0, 0.5 * 2 ** min(failures - 1, 30))
    assert whole / 2 <= wait <= whole


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("3", 3.0), (" 0.5 ", 0.5), ("0", 0.0), ("-4", 0.0), ("86400", 60.0),
        (format_datetime(datetime.fromtimestamp(NOON + 7, UTC), usegmt=True), 7.0),
        (format_datetime(datetime.fromtimestamp(NOON - 7, UTC), usegmt=True), 0.0),
        (None, None), ("", None), ("soon", None), ("nan", None), ("inf", None), ("Thu, 99 Foo 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None), ("Mon, 01 Jan 2026 00:00:00 +9999999999999", None),
    ],
)  # fmt: skip
def test_what_an_endpoint_asks_for_is_read_in_both_forms_and_cut(header, wait):
    """Rubbish asks for nothing."""
    assert retry_after_s(header, NOON, 60.0) == wait
