"""What a model says about conversations: response loss and embeddings, from one forward pass. Plain torch, no server.

Many conversations go through the model in one row, end to end, each attending to itself alone: nothing is padded, and a
result does not depend on what else was in the row beyond rounding. Logits are made for response tokens alone.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from headrace.lm.attention import PACKED
from headrace.lm.conversations import ConversationReader, Rendered, Tokens, Unreadable
from headrace.lm.judges import JudgeLimits, Judges
from headrace.lm.packing import Pack, Piece, cut, packed
from headrace.lm.passes import hidden_states

_CPU_LOGITS = 1 << 23
_GPU_LOGITS = 1 << 28
"""How many logits are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one pass. Conversations beyond `tokens_max` are cut at the end; a row holds about `row_tokens_max` tokens."""

    tokens_max: int = 2048
    row_tokens_max: int = 1024


@dataclass(frozen=True, slots=True)
class Measurement:
    """The signals of one conversation; losses in nats per token, embeddings float32 of unit length.

    Where `error` is set nothing was made: losses are NaN and embeddings None.
    """

    loss_mean: float = math.nan
    loss_std: float = math.nan
    prompt_tokens: int = 0
    response_tokens: int = 0
    truncated: bool = False
    prompt_embedding: np.ndarray | None = None
    conversation_embedding: np.ndarray | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class PlainPrompt:
    """The embedding of a prompt as plain text, float32 of unit length, None where there is none, and its tokens."""

    embedding: np.ndarray | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Passed:
    """One pack's outcome, still on the device: a row per conversation."""

    losses: torch.Tensor
    pools: torch.Tensor


class SignalMeter:
    """Measures conversations with one model. `measure` may be called from one thread at a time."""

    def __init__(self, model: PreTrainedModel, reader: ConversationReader, *, limits: Limits, workers: int) -> None:
        self._model = model
        self._head = model.get_output_embeddings()
        self._reader = reader
        self._limits = limits
        self._workers = workers
        self._device = model.device
        self._logits_max = _CPU_LOGITS if self._device.type == "cpu" else _GPU_LOGITS
        # One single-threaded pass per core beats one pass over all cores: no core waits for another at every operation,
        # which on a machine that has other work to do costs up to ten times the pass itself.
        self._pool = ThreadPoolExecutor(workers, "signals", initializer=torch.set_num_threads, initargs=(1,))

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "auto", dtype: str = "auto", limits: Limits | None = None, workers: int = 0
    ) -> Self:
        """Loads a folder in the Hugging Face layout and checks that packing changes none of its numbers.

        `device` is auto, cpu or cuda; `dtype` auto, float32 or bfloat16; `workers` (CPU passes side by side) 0 for all cores.

        Raises:
            ValueError: the model cannot be measured here, for the reason given.
        """
        place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        chosen = _fastest_dtype(place) if dtype == "auto" else getattr(torch, dtype)
        reader = ConversationReader(AutoTokenizer.from_pretrained(folder))
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=chosen, attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
        )
        model = model.to(place).eval()
        return cls.of(model, reader, limits=limits, workers=workers)

    @classmethod
    def of(cls, model: PreTrainedModel, reader: ConversationReader, *, limits: Limits | None = None, workers: int = 0) -> Self:
        """The same for a model in memory, whose attention is changed: use it for nothing else afterwards."""
        limits = limits or Limits()
        place = model.device
        window = getattr(model.config, "sliding_window", None)
        if window and window < limits.tokens_max:
            raise ValueError(f"the model attends to {window} tokens only: set tokens_max to at most that")
        if place.type == "cpu":
            workers = workers or torch.get_num_threads()
            torch.set_num_threads(1)
        meter = cls(model, reader, limits=limits, workers=workers if place.type == "cpu" else 1)
        meter._verify()
        return meter

    @property
    def embedding_size(self) -> int:
        return int(self._model.config.hidden_size)

    def judges(self, limits: JudgeLimits) -> Judges:
        """The same model as its own judge: the same weights, passes in the same threads."""
        return Judges(self._model, self._reader, limits=limits, pool=self._pool, workers=self._workers)

    def measure(self, conversations: Sequence[Mapping[str, Any]]) -> list[Measurement]:
        """One measurement per conversation, in order; what cannot be measured says why and harms no other."""
        measurements: list[Measurement | None] = [None] * len(conversations)
        readable: list[tuple[int, Rendered]] = []
        for index, conversation in enumerate(conversations):
            try:
                readable.append((index, self._reader.render(conversation)))
            except Unreadable as error:
                measurements[index] = Measurement(error=str(error))
        pieces = []
        tokens = self._reader.tokens([rendered for _, rendered in readable])
        for (index, _), read in zip(readable, tokens, strict=True):
            piece = cut(index, read, self._limits.tokens_max)
            if piece.tokens.prompt and piece.tokens.response:
                pieces.append(piece)
            else:
                measurements[index] = _unmeasurable(piece, self._limits.tokens_max)
        for piece, measurement in self._measured(pieces):
            measurements[piece.index] = measurement
        return [measurement for measurement in measurements if measurement is not None]

    def plain_prompts(self, conversations: Sequence[Mapping[str, Any]]) -> list[PlainPrompt]:
        """The embedding of each conversation's prompt as plain text, without the chat template, in a pass of its own.

        So the authors of Middo embed prompts (mode middo_compat): an unweighted mean over all tokens, a BOS included. What has no
        such text has no embedding. As everywhere here a text is cut at `tokens_max`; theirs is not.
        """
        found = [PlainPrompt()] * len(conversations)
        pieces = []
        for index, conversation in enumerate(conversations):
            with contextlib.suppress(Unreadable):
                pieces.append(cut(index, Tokens(self._reader.plain_prompt(conversation), []), self._limits.tokens_max))
        packs = packed([piece for piece in pieces if piece.length], tokens_max=self._limits.row_tokens_max, workers=self._workers)
        for pack, pools in zip(packs, self._pool.map(self._pooled, packs), strict=True):
            for piece, pool in zip(pack.pieces, pools, strict=True):
                found[piece.index] = PlainPrompt(pool if np.isfinite(pool).all() and pool.any() else None, piece.length)
        return found

    @torch.inference_mode()
    def _pooled(self, pack: Pack) -> np.ndarray:
        hidden = hidden_states(self._model, torch.tensor(pack.ids, device=self._device), pack.positions, pack.borders)
        pools: np.ndarray = _pools(hidden.float(), pack)[:, 0].cpu().numpy()
        return pools

    def _measured(self, pieces: Sequence[Piece]) -> list[tuple[Piece, Measurement]]:
        packs = packed(pieces, tokens_max=self._limits.row_tokens_max, workers=self._workers)
        passes = list(self._pool.map(self._pass, packs))
        return [pair for pack, passed in zip(packs, passes, strict=True) for pair in _results(pack, passed)]

    @torch.inference_mode()
    def _pass(self, pack: Pack) -> _Passed:
        ids, predicting = (torch.tensor(numbers, device=self._device) for numbers in (pack.ids, pack.predicting))
        hidden = hidden_states(self._model, ids, pack.positions, pack.borders)
        losses = self._losses(hidden[predicting], ids[predicting + 1])
        per_conversation = losses.double().split([len(piece.tokens.response) for piece in pack.pieces])
        return _Passed(
            losses=torch.stack([torch.stack((loss.mean(), loss.std(correction=0))) for loss in per_conversation]),
            pools=_pools(hidden.float(), pack),
        )

    def _losses(self, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        rows = max(1, self._logits_max // self._head.weight.shape[0])
        chunks = zip(hidden.split(rows), wanted.split(rows), strict=True)
        return torch.cat([cross_entropy(self._head(some).float(), next_ids, reduction="none") for some, next_ids in chunks])

    @torch.inference_mode()
    def _verify(self) -> None:
        """Compares two packed passages with the model's own forward pass over each, then leaves packing switched on.

        Layers that mix tokens by other means than attention, or a head that does more than its matrix, are found here.
        """
        size = self._model.config.vocab_size
        passages = [[(seed + 31 * step * step) % size for step in range(48)] for seed in (5, 11)]
        expected = []
        for passage in passages:
            ids = torch.tensor([passage], device=self._device)
            expected.append(cross_entropy(self._model(input_ids=ids).logits[0, 7:-1].float(), ids[0, 8:]).item())
        self._model.set_attn_implementation(PACKED)
        pack = Pack(tuple(Piece(i, Tokens(ids[:8], ids[8:]), truncated=False) for i, ids in enumerate(passages)))
        found = self._pass(pack).losses[:, 0].tolist()
        tolerance = 1e-3 if self._model.dtype is torch.float32 else 0.1
        if not np.allclose(found, expected, rtol=0, atol=tolerance):
            raise ValueError(f"this model cannot be measured in packed rows: losses {found}, by itself {expected}")


def _fastest_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 - there is no public question
        return torch.bfloat16
    return torch.float32


def _unmeasurable(piece: Piece, tokens_max: int) -> Measurement:
    if not piece.tokens.prompt:
        return Measurement(error="the prompt has no token", truncated=piece.truncated)
    return Measurement(error=f"no response token within {tokens_max} tokens", truncated=piece.truncated)


def _pools(hidden: torch.Tensor, pack: Pack) -> torch.Tensor:
    """Mean hidden states of unit length, prompt and whole conversation, shape (conversations, 2, size)."""
    lengths = [len(part) for piece in pack.pieces for part in (piece.tokens.prompt, piece.tokens.response)]
    sums = torch.stack([part.sum(dim=0) for part in hidden.split(lengths)]).view(len(pack.pieces), 2, -1)
    return normalize(sums.cumsum(dim=1), dim=-1)  # the mean's direction is the sum's


def _results(pack: Pack, passed: _Passed) -> list[tuple[Piece, Measurement]]:
    losses, pools = passed.losses.cpu().tolist(), passed.pools.cpu().numpy()
    return [
        (piece, _measurement(piece, mean, std, pool[0], pool[1]))
        for piece, (mean, std), pool in zip(pack.pieces, losses, pools, strict=True)
    ]


def _measurement(piece: Piece, mean: float, std: float, prompt: np.ndarray, conversation: np.ndarray) -> Measurement:
    if not (math.isfinite(mean) and math.isfinite(std)):
        return Measurement(error="the model's loss is not a finite number")
    if not all(np.isfinite(pool).all() and pool.any() for pool in (prompt, conversation)):
        return Measurement(error="the model's hidden states are not finite numbers")
    return Measurement(
        loss_mean=mean,
        loss_std=std,
        prompt_tokens=len(piece.tokens.prompt),
        response_tokens=len(piece.tokens.response),
        truncated=piece.truncated,
        prompt_embedding=prompt,
        conversation_embedding=conversation,
    )
