"""The model as its own judge, by what it writes: six texts for a sample, and the first number in each (mode middo_compat).

Drawing is seeded by what is judged, question by question, so that judging again gives the same. A text is ended as soon as its
first number is complete: what follows cannot change the score.
"""

import copy
import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from headrace.lm.conversations import Unreadable
from headrace.lm.judge import Judged
from headrace.lm.judge_layout import PROMPT_QUESTIONS, JudgeReader, Quoted
from headrace.lm.judge_writing import write_side_by_side

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SCORE_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a text is drawn: among the `top_k` likeliest words, of those the fewest that hold `top_p` of the probability."""

    temperature: float = 0.1
    top_p: float = 0.7
    top_k: int = 50
    new_tokens_max: int = 1024


def score_of(text: str) -> float:
    """The first number in a text, at most 10; 0 where there is none, as the authors' code has it."""
    found = _NUMBER.search(text)
    return min(float(found[0]), _SCORE_MAX) if found else 0.0


def has_score(text: str) -> bool:
    """Whether nothing that may follow can change the text's score."""
    found = _NUMBER.search(text)
    if found is None:
        return False
    behind = text[found.end() :]
    return bool(behind) and (behind != "." or "." in found[0])


class GeneratedJudge:
    """Judges with a copy of the model that shares its weights and attends as the model was made to."""

    def __init__(
        self, model: PreTrainedModel, layout: JudgeReader, decode: Callable[[Sequence[int]], str], *, decoding: Decoding
    ) -> None:
        self._model = _unpacked(model)
        self._layout = layout
        self._decode = decode
        self._decoding = decoding
        self._ends = _end_tokens(model)
        self.ruler_hash = layout.ruler_hash({"mode": "generated"} | asdict(decoding))

    def judge(self, conversations: Sequence[Mapping[str, Any]], *, pool: Executor, workers: int) -> list[Judged]:  # noqa: ARG002 - as the other judge's
        """One outcome per conversation, in order; what cannot be read says why and harms no other."""
        quoted = self._layout.quoted(conversations)
        return list(pool.map(self._judged, quoted))

    def asked(self, one: Quoted) -> list[list[int]]:
        """What the model is given to continue, six times: sample and question."""
        return [
            [*one.prompt, *(() if number < PROMPT_QUESTIONS else one.response), *question]
            for number, question in enumerate(self._layout.questions)
        ]

    @torch.inference_mode()
    def write(self, asked: Sequence[Sequence[int]], is_enough: Callable[[Sequence[int]], bool]) -> list[list[int]]:
        """Texts that the model writes behind these, side by side, each to its end or until `is_enough` says so of it."""
        draws = [_draws(ids, self.ruler_hash) for ids in asked]
        texts: list[list[int]] = [[] for _ in asked]

        def draw(logits: torch.Tensor, numbers: Sequence[int]) -> list[int]:
            return _drawn(logits, [draws[number].random() for number in numbers], self._decoding)

        def goes_on(number: int, word: int) -> bool:
            if word in self._ends:
                return False
            texts[number].append(word)
            return not is_enough(texts[number])

        write_side_by_side(self._model, asked, draw=draw, goes_on=goes_on, words_max=self._decoding.new_tokens_max)
        return texts

    def _judged(self, one: Quoted | Unreadable) -> Judged:
        if isinstance(one, Unreadable):
            return Judged(error=str(one))
        asked = self.asked(one)
        texts = self.write(asked, lambda ids: has_score(self._decode(ids)))
        scores = tuple(score_of(self._decode(ids)) for ids in texts)
        return Judged(scores, 1.0, sum(map(len, asked)) + sum(map(len, texts)), one.truncated)


def _unpacked(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in modules of their own, whose attention can be chosen apart from the model's."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    twin.set_attn_implementation("sdpa")
    return twin


def _end_tokens(model: PreTrainedModel) -> frozenset[int]:
    named = (model.generation_config.eos_token_id if model.generation_config else None, model.config.eos_token_id)
    return frozenset(number for one in named if one is not None for number in (one if isinstance(one, list | tuple) else [one]))


def _draws(asked: Sequence[int], ruler_hash: str) -> random.Random:
    """Numbers that follow from what is asked, and from nothing else."""
    seed = hashlib.sha256(f"{ruler_hash}:{list(asked)}".encode()).digest()
    return random.Random(seed)  # noqa: S311 - repeatable, and guards nothing


def _drawn(logits: torch.Tensor, draws: Sequence[float], decoding: Decoding) -> list[int]:
    """One word per row: the one in whose share of the probability that is left the row's draw (0 to 1) falls."""
    best = (logits.double() / decoding.temperature).topk(min(decoding.top_k, logits.shape[-1]))
    chances = best.values.softmax(dim=-1)
    before = chances.cumsum(dim=-1) - chances
    kept = torch.where(before < decoding.top_p, chances, 0.0)
    reach = kept.cumsum(dim=-1)
    wanted = torch.tensor(draws, dtype=reach.dtype, device=reach.device)[:, None] * reach[:, -1:]
    places = torch.searchsorted(reach, wanted, right=True).clamp(max=reach.shape[-1] - 1)
    words: list[int] = best.indices.gather(1, places)[:, 0].tolist()
    return words
