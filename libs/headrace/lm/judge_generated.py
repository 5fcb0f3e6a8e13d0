"""The model as its own judge, by what it writes: six texts for a sample, and the first number in each (mode middo_compat).

Drawing is seeded by what is judged, question by question, so that judging again gives the same. A text is ended as soon as its
first number is complete: what follows cannot change the score. `whole` writes on to the end, for those who measure the cost.
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
from transformers import DynamicCache, PreTrainedModel

from headrace.core.dossiers import JUDGED
from headrace.lm.conversations import Unreadable
from headrace.lm.judge import Judged
from headrace.lm.judge_layout import PROMPT_QUESTIONS, JudgeReader, Quoted

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
        self,
        model: PreTrainedModel,
        layout: JudgeReader,
        decode: Callable[[Sequence[int]], str],
        *,
        decoding: Decoding,
        whole: bool = False,
    ) -> None:
        self._model = _unpacked(model)
        self._layout = layout
        self._decode = decode
        self._decoding = decoding
        self._whole = whole
        self._ends = _end_tokens(model)
        self.ruler_hash = layout.ruler_hash({"mode": "generated"} | asdict(decoding))

    def judge(self, conversations: Sequence[Mapping[str, Any]], *, pool: Executor, workers: int) -> list[Judged]:  # noqa: ARG002 - as the other judge's
        """One outcome per conversation, in order; what cannot be read says why and harms no other."""
        quoted = self._layout.quoted(conversations)
        return list(pool.map(self._judged, quoted))

    def _judged(self, one: Quoted | Unreadable) -> Judged:
        if isinstance(one, Unreadable):
            return Judged(error=str(one))
        texts, tokens = self._written(one)
        return Judged(tuple(score_of(text) for text in texts), 1.0, tokens, one.truncated)

    @torch.inference_mode()
    def _written(self, one: Quoted) -> tuple[list[str], int]:
        """The six texts, and how many tokens were read and written."""
        asked = [
            [*one.prompt, *(() if number < PROMPT_QUESTIONS else one.response), *question]
            for number, question in enumerate(self._layout.questions)
        ]
        draws = [_draws(row, self.ruler_hash) for row in asked]
        written: list[list[int]] = [[] for _ in JUDGED]
        going = set(range(len(JUDGED)))
        ids, seen, positions = _padded(asked, self._model.device)
        cache = DynamicCache(config=self._model.config)
        for _ in range(self._decoding.new_tokens_max):
            logits = self._model(
                input_ids=ids,
                attention_mask=seen,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            words = _drawn(logits, [draw.random() for draw in draws], self._decoding)
            for number in sorted(going):
                if words[number] in self._ends:
                    going.discard(number)
                    continue
                written[number].append(words[number])
                if not self._whole and has_score(self._decode(written[number])):
                    going.discard(number)
            if not going:
                break
            ids = torch.tensor(words, device=ids.device)[:, None]
            seen = torch.cat((seen, torch.ones_like(ids)), dim=1)
            positions = positions[:, -1:] + 1
        return [self._decode(words) for words in written], sum(map(len, asked)) + sum(map(len, written))


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


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids filled up on the left, which of them are seen, and their positions."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + [*row] for row in rows], device=device)
    seen = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, seen, (seen.cumsum(dim=1) - 1).clamp(min=0)


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
