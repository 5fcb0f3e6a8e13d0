"""Which dead letters were answered, sent back or discarded: kept in the transaction that answers them.

It is kept twice: beside the offset of the group that answers, where it is quickly read, and in a record among the letters, since
Kafka forgets the offsets of a group without members after a week (`offsets.retention.minutes`), and letters are kept for longer.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

METADATA_CHARS_MAX = 4_000
"""A broker keeps 4,096 characters beside an offset unless told otherwise."""


class TooScattered(Exception):
    """Too many letters were answered out of order to be told apart from the others."""


@dataclass(frozen=True, slots=True)
class Answered:
    """All letters before the offset `up_to`, and those in the spans `beyond` it, which are in order and do not touch.

    Spans, because a mark must stay small and cheap to read however many letters were answered behind one that was not.
    """

    up_to: int
    beyond: tuple[range, ...] = ()

    def __contains__(self, offset: int) -> bool:
        behind = bisect_right(self.beyond, offset, key=lambda span: span.start)
        return offset < self.up_to or (behind > 0 and offset in self.beyond[behind - 1])

    def and_then(self, spans: Iterable[range], up_to: int) -> "Answered":
        """With the letters in these spans too, now that none before `up_to` is left."""
        merged: list[range] = []
        for span in sorted((*self.beyond, *spans), key=lambda span: span.start):
            if merged and span.start <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(merged[-1].stop, span.stop))
            else:
                merged.append(span)
        return Answered(up_to, tuple(range(max(span.start, up_to), span.stop) for span in merged if span.stop > up_to))

    def metadata(self) -> str:
        """What is kept beside the offset: "7-9,12".

        Raises:
            TooScattered: it would not fit.
        """
        text = ",".join(str(span.start) if len(span) == 1 else f"{span.start}-{span[-1]}" for span in self.beyond)
        if len(text) > METADATA_CHARS_MAX:
            raise TooScattered(
                f"letters in {len(self.beyond)} places would be answered behind one at offset {self.up_to} that is not: "
                "send back or discard the oldest ones first"
            )
        return text

    def text(self) -> str:
        """What is kept in a record: "5:7-9,12".

        Raises:
            TooScattered: as `metadata`.
        """
        return f"{self.up_to}:{self.metadata()}"

    @classmethod
    def of_text(cls, text: str) -> "Answered":
        """The reverse of `text`."""
        up_to, _, metadata = text.partition(":")
        return cls.read(int(up_to), metadata)

    @classmethod
    def read(cls, up_to: int, metadata: str) -> "Answered":
        """The reverse of `metadata`."""
        spans = []
        for span in filter(None, metadata.split(",")):
            first, _, last = span.partition("-")
            spans.append(range(int(first), int(last or first) + 1))
        return cls(up_to, tuple(spans))
