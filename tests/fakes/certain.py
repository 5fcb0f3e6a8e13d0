"""For tests that know more than the types say."""

from typing import TypeVar

Value = TypeVar("Value")


def certain(value: Value | None) -> Value:
    """The value, which is there."""
    assert value is not None
    return value
