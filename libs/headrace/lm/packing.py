"""How conversations are laid end to end, so that every token that is computed is a token that was sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from headrace.lm.conversations import Tokens


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
    """Packs of at most `tokens_max` tokens (a longer conversation has one of its own), longest conversations first.

    With several workers packs are kept small enough that each gets a share of the work.
    """
    if not pieces:
        return []
    rows = sorted(pieces, key=lambda piece: (-piece.length, piece.index))
    share = sum(piece.length for piece in rows) // (2 * workers) if workers > 1 else tokens_max
    limit = min(tokens_max, max(share, rows[0].length))
    packs: list[list[Piece]] = [[]]
    used = 0
    for piece in rows:
        if packs[-1] and used + piece.length > limit:
            packs.append([])
            used = 0
        packs[-1].append(piece)
        used += piece.length
    return [Pack(tuple(pack)) for pack in packs]
