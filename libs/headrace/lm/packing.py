"""How conversations are laid end to end, so that every token that is computed is a token that was sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeVar

from headrace.lm.conversations import Tokens


class Long(Protocol):
    """What goes through the model in one piece: so many tokens; `index` is its place in the request."""

    @property
    def index(self) -> int: ...

    @property
    def length(self) -> int: ...


LongT = TypeVar("LongT", bound=Long)


@dataclass(frozen=True, slots=True)
class Piece:
    """One conversation in a pack; `index` is its place in the request, `truncated` says that its end was cut off."""

    index: int
    tokens: Tokens
    truncated: bool

    @property
    def length(self) -> int:
        return len(self.tokens.prompt) + len(self.tokens.response)


def cut(index: int, tokens: Tokens, tokens_max: int) -> Piece:
    """A conversation cut at its end to `tokens_max` tokens; one half or both may be left empty."""
    prompt, response = tokens.prompt[:tokens_max], tokens.response[: max(0, tokens_max - len(tokens.prompt))]
    return Piece(index, Tokens(prompt, response), truncated=len(tokens.prompt) + len(tokens.response) > tokens_max)


@dataclass(frozen=True, slots=True)
class Pack:
    """Conversations that go through the model in one row."""

    pieces: tuple[Piece, ...]

    @property
    def borders(self) -> tuple[int, ...]:
        """Where each conversation begins, and where the last one ends."""
        return (0, *accumulate(piece.length for piece in self.pieces))

    @property
    def ids(self) -> list[int]:
        return [token for piece in self.pieces for part in (piece.tokens.prompt, piece.tokens.response) for token in part]

    @property
    def positions(self) -> list[int]:
        return [position for piece in self.pieces for position in range(piece.length)]

    @property
    def predicting(self) -> list[int]:
        """The places whose next token is a response token, in order."""
        starts = [begin + len(piece.tokens.prompt) - 1 for begin, piece in zip(self.borders, self.pieces, strict=False)]
        return [
            start + step for start, piece in zip(starts, self.pieces, strict=True) for step in range(len(piece.tokens.response))
        ]


def packed(pieces: Sequence[Piece], *, tokens_max: int, workers: int) -> list[Pack]:
    """The conversations in packs, as `rows_of` divides them."""
    return [Pack(tuple(row)) for row in rows_of(pieces, tokens_max=tokens_max, workers=workers)]


def rows_of(pieces: Sequence[LongT], *, tokens_max: int, workers: int) -> list[list[LongT]]:
    """Rows of at most `tokens_max` tokens (a longer piece has one of its own), longest pieces first.

    With several workers rows are kept small enough that each gets a share of the work.
    """
    if not pieces:
        return []
    ordered = sorted(pieces, key=lambda piece: (-piece.length, piece.index))
    share = sum(piece.length for piece in ordered) // (2 * workers) if workers > 1 else tokens_max
    limit = min(tokens_max, max(share, ordered[0].length))
    rows: list[list[LongT]] = [[]]
    used = 0
    for piece in ordered:
        if rows[-1] and used + piece.length > limit:
            rows.append([])
            used = 0
        rows[-1].append(piece)
        used += piece.length
    return rows
