"""Which dead letters were answered, sent back or discarded: kept in the offset that says so, hence in its transaction."""

from collections.abc import Iterable
from dataclasses import dataclass

METADATA_CHARS_MAX = 4_000
"""A broker keeps 4,096 characters beside an offset unless told otherwise."""


class TooScattered(Exception):
    """Too many letters were answered out of order to be told apart from the others."""


@dataclass(frozen=True, slots=True)
class Answered:
    """All letters before the offset `up_to`, and those at the offsets `beyond` it."""

    up_to: int
    beyond: frozenset[int] = frozenset()

    def __contains__(self, offset: int) -> bool:
        return offset < self.up_to or offset in self.beyond

    def and_then(self, offsets: Iterable[int], up_to: int) -> "Answered":
        """With these offsets too, now that no letter before `up_to` is left."""
        return Answered(up_to, frozenset(offset for offset in (*self.beyond, *offsets) if offset >= up_to))

    def metadata(self) -> str:
        """What is kept beside the offset: "7-9,12".

        Raises:
            TooScattered: it would not fit.
        """
        runs: list[list[int]] = []
        for offset in sorted(self.beyond):
            if runs and offset == runs[-1][1] + 1:
                runs[-1][1] = offset
            else:
                runs.append([offset, offset])
        text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
        if len(text) > METADATA_CHARS_MAX:
            raise TooScattered(
                f"{len(self.beyond)} letters would be answered behind one at offset {self.up_to} that is not: "
                "send back or discard the oldest ones first"
            )
        return text

    @classmethod
    def read(cls, up_to: int, metadata: str) -> "Answered":
        """The reverse of `metadata`."""
        beyond: set[int] = set()
        for run in filter(None, metadata.split(",")):
            first, _, last = run.partition("-")
            beyond.update(range(int(first), int(last or first) + 1))
        return cls(up_to, frozenset(beyond))
