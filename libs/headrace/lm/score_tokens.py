"""Which tokens say a score from 0 to 10, and the score that their probabilities amount to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

SCORES = 11
_TEN = 10


class NoScoreTokens(ValueError):
    """The tokenizer writes the numbers in a way that cannot be read from one or two positions."""


@dataclass(frozen=True, slots=True)
class ScoreTokens:
    """The tokens of 0 to 9, and of 10 where it is one; else 10 is the token of 1 and `zero` behind it."""

    ones: tuple[int, ...]
    ten: int | None
    zero: int | None

    @staticmethod
    def of(ids_of: Callable[[str], list[int]], before: str) -> "ScoreTokens":
        """The tokens that follow this text when a score is written behind it.

        Raises:
            NoScoreTokens: a digit is not one token, or 10 neither one token nor two digits.
        """
        start = ids_of(before)
        written = [ids_of(f"{before}{score}") for score in range(SCORES)]
        if any(ids[: len(start)] != start for ids in written):
            raise NoScoreTokens("the tokenizer joins a score to what stands before it")
        tails = [ids[len(start) :] for ids in written]
        ones = tuple(tail[0] for tail in tails[:_TEN] if len(tail) == 1)
        if len(set(ones)) != _TEN:
            raise NoScoreTokens("the tokenizer does not have one token for each digit")
        ten = tails[_TEN]
        if len(ten) == 1 and ten[0] not in ones:
            return ScoreTokens(ones, ten[0], None)
        if ten == [ones[1], ones[0]]:
            return ScoreTokens(ones, None, ones[0])
        raise NoScoreTokens("the tokenizer writes 10 neither as one token nor as two digits")

    @property
    def further(self) -> tuple[int, ...]:
        """What has to stand behind the question for the second position to be read: nothing where 10 is one token."""
        return () if self.zero is None else (self.ones[1],)

    def expected(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Expectation over the scores, normalised over their tokens, and the probability that those tokens had together.

        `logits` are those at the answer's position and, where 10 is two tokens, those behind a 1: shape (..., 1 or 2, words).
        """
        chances = logits.double().softmax(dim=-1)
        first = chances[..., 0, :]
        ones = first[..., list(self.ones)]
        if self.zero is None:
            scores = torch.cat((ones, first[..., self.ten : self.ten + 1]), dim=-1) if self.ten is not None else ones
        else:
            tens = ones[..., 1] * chances[..., 1, self.zero]
            ones[..., 1] -= tens
            scores = torch.cat((ones, tens[..., None]), dim=-1)
        mass = scores.sum(dim=-1)
        worth = torch.arange(SCORES, dtype=scores.dtype, device=scores.device)
        return (scores * worth).sum(dim=-1) / mass, mass
