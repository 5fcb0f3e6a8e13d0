"""What all wire forms have in common: the error, required fields, times and numbers."""

from math import floor, isfinite
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.core.topics import DATASET_ID

_TIME_S_MAX = 253_402_300_799  # the end of the year 9999, protobuf's own limit
_NANOS = 1_000_000_000


class Undecodable(ValueError):
    """The bytes are not an event of the expected type; the text says what is wrong with them."""


def serialized(message: Message) -> bytes:
    """The bytes of a message: the same for equal messages in every process, whose maps would each have an order of their own.

    A version's id and shards follow from such bytes.
    """
    return message.SerializeToString(deterministic=True)


def require(text: str, what: str) -> None:
    """Raises Undecodable where the text is empty."""
    if not text:
        raise Undecodable(f"{what} is empty")


def require_dataset_id(dataset_id: str, what: str) -> None:
    """Raises Undecodable where the text is no dataset id."""
    if not DATASET_ID.fullmatch(dataset_id):
        raise Undecodable(f"{what} {dataset_id[:80]!r} must be lower-case letters, digits and hyphens, at most 63")


def finite(number: float, what: str) -> float:
    """The number itself; raises Undecodable for NaN and the infinities, which no measurement of ours gives."""
    if not isfinite(number):
        raise Undecodable(f"{what} is {number}, not a finite number")
    return number


def seconds_of(message: Any, field: str) -> float:
    """A timestamp field as Unix seconds; raises Undecodable where it is missing or impossible."""
    if not message.HasField(field):
        raise Undecodable(f"{field} is missing")
    stamp = getattr(message, field)
    whole, nanos = stamp.seconds, stamp.nanos
    if not (0 <= whole <= _TIME_S_MAX and 0 <= nanos < _NANOS):
        raise Undecodable(f"{field} is no time between 1970 and 9999")
    seconds: float = (whole * _NANOS + nanos) / _NANOS  # of integers: rounded once, so that floats come back as they were
    return seconds


def timestamp_of(seconds: float) -> Timestamp:
    """Unix seconds as a timestamp that `seconds_of` reads back as the same float.

    Raises:
        ValueError: the number is not finite.
    """
    whole = floor(seconds)
    nanos = round((seconds - whole) * _NANOS)
    return Timestamp(seconds=whole + nanos // _NANOS, nanos=nanos % _NANOS)
