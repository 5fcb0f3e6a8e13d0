"""Kept replies in memory are bounded."""

from headrace.adapters.chat.shelf import Shelf


def test_the_least_recently_used_go_first_and_it_is_said_once(caplog):
    """What was asked for lately is likely to be asked for again."""
    shelf = Shelf(3_000)
    for name in "abc":
        shelf.put(name, b"x" * 500)
    assert shelf.get("a") is not None
    shelf.put("d", b"x" * 500)
    shelf.put("e", b"x" * 500)
    assert [name for name in "abcde" if shelf.get(name)] == ["a", "d", "e"]
    assert len(caplog.records) == 1
    assert "HEADRACE_REPLIES_BYTES_MAX" in caplog.text


def test_one_reply_always_has_a_place():
    """Else a reply that was just paid for could not be read back."""
    shelf = Shelf(1_000)
    shelf.put("a", b"x" * 5_000)
    assert shelf.get("a") == b"x" * 5_000
    shelf.put("b", b"y")
    assert shelf.get("a") is None
