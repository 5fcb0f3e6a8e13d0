"""The model as its own judge, from logits: six scores of a sample by one pass over it and six short questions behind it.

A score is the expectation over the tokens that say 0 to 10 at the answer's position. Nothing is generated, so nothing has to be
parsed, and what a sample says cannot be taken for an answer. How much probability the score tokens had is told; where it is too
little the model was not about to give a score, and the judgement is not made.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from transformers import PreTrainedModel

from headrace.core.dossiers import JUDGED
from headrace.lm.attention import Branch
from headrace.lm.conversations import Unreadable
from headrace.lm.judge_layout import PROMPT_QUESTIONS, JudgeReader, Quoted
from headrace.lm.packing import rows_of
from headrace.lm.passes import hidden_states
from headrace.lm.score_tokens import ScoreTokens

NO_SCORES = (math.nan,) * len(JUDGED)


@dataclass(frozen=True, slots=True)
class Judged:
    """Six scores from 0 to 10 in the order of `JUDGED`; NaN where `error` says why they were not made.

    `mass` is the least probability that the score tokens had at any of the six answers, 1 where text was generated instead;
    `tokens` counts those that the judge read and wrote; `truncated` says that the sample's end was cut off.
    """

    scores: tuple[float, ...] = NO_SCORES
    mass: float = 0.0
    tokens: int = 0
    truncated: bool = False
    error: str = ""


class LogitJudge:
    """Judges samples with a model whose attention is packed; `row_tokens_max` is about how many tokens a pass holds."""

    def __init__(
        self, model: PreTrainedModel, layout: JudgeReader, tokens: ScoreTokens, *, mass_min: float, row_tokens_max: int
    ) -> None:
        self._model = model
        self._layout = layout
        self._tokens = tokens
        self._mass_min = mass_min
        self._row_tokens_max = row_tokens_max
        self._questions = [[*question, *tokens.further] for question in layout.questions]
        self.ruler_hash = layout.ruler_hash({"mode": "logits", "scores": "expectation", "mass_min": mass_min})

    def judge(self, conversations: Sequence[Mapping[str, Any]], *, pool: Executor, workers: int) -> list[Judged]:
        """One outcome per conversation, in order; what cannot be judged says why and harms no other."""
        quoted = self._layout.quoted(conversations)
        rows = rows_of([one for one in quoted if isinstance(one, Quoted)], tokens_max=self._row_tokens_max, workers=workers)
        passed = {
            one.index: judged
            for row, some in zip(rows, pool.map(self._pass, rows), strict=True)
            for one, judged in zip(row, some, strict=True)
        }
        return [Judged(error=str(one)) if isinstance(one, Unreadable) else passed[index] for index, one in enumerate(quoted)]

    @torch.inference_mode()
    def _pass(self, row: Sequence[Quoted]) -> list[Judged]:
        row_of = _Row(row, self._questions, self._model.device)
        hidden = hidden_states(self._model, row_of.ids, row_of.positions, row_of.borders, row_of.branches)
        read = 1 + len(self._tokens.further)
        places = [end - read + step for end in row_of.answers for step in range(read)]
        logits = self._model.get_output_embeddings()(hidden[places]).float()
        scores, masses = self._tokens.expected(logits.view(len(row), len(JUDGED), read, -1))
        return [
            self._judged(one, some, mass)
            for one, some, mass in zip(row, scores.tolist(), masses.amin(dim=-1).tolist(), strict=True)
        ]

    def _judged(self, one: Quoted, scores: list[float], mass: float) -> Judged:
        error = ""
        if not all(math.isfinite(score) for score in scores):
            error = "the model's scores are not finite numbers"
        elif mass < self._mass_min:
            error = f"the score tokens had {mass:.3f} of the probability, below {self._mass_min:g}"
        tokens = one.length + len(JUDGED) * len(self._tokens.further)
        return Judged(NO_SCORES if error else tuple(scores), mass if math.isfinite(mass) else 0.0, tokens, one.truncated, error)


class _Row:
    """Samples end to end, then the questions of each: three that see its prompt, three that see all of it."""

    def __init__(self, samples: Sequence[Quoted], questions: Sequence[Sequence[int]], device: torch.device) -> None:
        ids = [number for one in samples for part in (one.prompt, one.response) for number in part]
        self.positions = [place for one in samples for place in range(len(one.prompt) + len(one.response))]
        self.borders = (0, *accumulate(len(one.prompt) + len(one.response) for one in samples))
        self.branches: list[Branch] = []
        self.answers: list[int] = []
        for one, begin in zip(samples, self.borders, strict=False):
            whole = len(one.prompt) + len(one.response)
            for seen, asked in ((len(one.prompt), questions[:PROMPT_QUESTIONS]), (whole, questions[PROMPT_QUESTIONS:])):
                ends = (0, *accumulate(map(len, asked)))
                mask = _mask(seen, ends, device)
                self.branches.append(Branch(len(ids), len(ids) + ends[-1], begin, begin + seen, mask))
                self.answers += [len(ids) + end for end in ends[1:]]
                self.positions += [seen + step for question in asked for step in range(len(question))]
                ids += [number for question in asked for number in question]
        self.ids = torch.tensor(ids, device=device)


def _mask(seen: int, ends: Sequence[int], device: torch.device) -> torch.Tensor:
    """Each question sees the sample and itself so far."""
    mask = torch.zeros(ends[-1], seen + ends[-1], dtype=torch.bool, device=device)
    mask[:, :seen] = True
    for begin, end in pairwise(ends):
        mask[begin:end, seen + begin : seen + end] = torch.ones(end - begin, end - begin, device=device).tril().bool()
    return mask
