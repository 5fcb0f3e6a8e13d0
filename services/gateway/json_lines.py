"""A body as lines, in bounded memory whatever comes: no line, and no packed body, is held beyond its limit."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress

from headrace.core.refusals import RefusalCode, Refused

_PIECE_BYTES = 64 * 1024
"""Whoever reads a body lets others have a turn after each piece, so it is short even where it is nothing but lines."""
_RATIO_FROM_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line, counted from 1 with empty ones; `raw` is None where it was too long and has been skipped."""

    number: int
    raw: bytes | None


class LineSplitter:
    """Cuts pieces of a body into lines. Of a line over the limit nothing is kept, and its newline is looked for."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._held = bytearray()  # one buffer: a line may come byte by byte
        self._skipping = False
        self._number = 0

    def feed(self, piece: bytes) -> Iterator[Line]:
        """The lines that this piece completes; empty ones are left out, at next to no cost."""
        end, *lines = piece.split(b"\n")
        self._hold(end)
        if not lines:
            return
        yield from self._line()
        *whole, rest = lines
        for number, raw in compress(enumerate(whole, self._number + 1), whole):  # no step for an empty one
            if len(raw) > self._line_bytes_max:
                yield Line(number, None)
            elif not raw.isspace():
                yield Line(number, raw)
        self._number += len(whole)
        self._hold(rest)

    def finish(self) -> Iterator[Line]:
        """The last line, where the body does not end with a newline."""
        yield from self._line()

    def _hold(self, part: bytes) -> None:
        if self._skipping:
            return
        if len(self._held) + len(part) > self._line_bytes_max:
            self._skipping = True
            self._held.clear()
        else:
            self._held += part

    def _line(self) -> Iterator[Line]:
        self._number += 1
        raw, skipped = bytes(self._held), self._skipping
        self._held.clear()
        self._skipping = False
        if skipped:
            yield Line(self._number, None)
        elif raw and not raw.isspace():
            yield Line(self._number, raw)


class Plain:
    """A body that is not packed."""

    def __init__(self, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._seen = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The bytes as they came; raises Refused when they are too many."""
        self._seen += len(chunk)
        check_body(self._seen, self._body_bytes_max)
        yield chunk

    def finish(self) -> None:
        """A plain body may end anywhere."""


class Gunzip:
    """Unpacks gzip, also several members in a row, a bounded piece at a time."""

    def __init__(self, body_bytes_max: int, ratio_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._ratio_max = ratio_max
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False
        self._packed = 0
        self._unpacked = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The unpacked pieces of a chunk.

        Raises:
            Refused: bad_gzip, gzip_bomb, or too_large for the body as a whole.
        """
        while chunk:
            if self._member.eof:
                self._member, self._begun = zlib.decompressobj(wbits=31), False
            try:
                piece = self._member.decompress(chunk, _PIECE_BYTES)
            except zlib.error as error:
                raise Refused(RefusalCode.BAD_GZIP, f"the body is not gzip: {error}") from None
            self._begun = True
            rest = self._member.unused_data or self._member.unconsumed_tail
            self._packed += len(chunk) - len(rest)
            self._unpacked += len(piece)
            self._check()
            if piece:
                yield piece
            chunk = rest

    def finish(self) -> None:
        """Raises Refused (bad_gzip) where the body ended in the middle of a member."""
        if self._begun and not self._member.eof:
            raise Refused(RefusalCode.BAD_GZIP, "the packed body ends too early")

    def _check(self) -> None:
        if self._unpacked > _RATIO_FROM_BYTES and self._unpacked > self._ratio_max * self._packed:
            told = f"over {self._ratio_max} times as much unpacked as packed (HEADRACE_GATEWAY_GZIP_RATIO_MAX)"
            raise Refused(RefusalCode.GZIP_BOMB, told)
        check_body(self._unpacked, self._body_bytes_max)


def check_body(size: int, body_bytes_max: int) -> None:
    """Raises Refused (too_large) where a body has grown past its limit."""
    if size > body_bytes_max:
        told = f"the body has more than {body_bytes_max} bytes (HEADRACE_GATEWAY_BODY_BYTES_MAX); send it in several requests"
        raise Refused(RefusalCode.TOO_LARGE, told)
