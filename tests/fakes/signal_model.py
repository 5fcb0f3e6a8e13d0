"""Signals without a model: derived from the text alone, so that the same text always has the same signals."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.adapters.triton.rows import conversation_json
from headrace.core.dossiers import JUDGED, Embeddings, Judgement, Signals
from headrace.core.ports.signal_model import NOTHING_MORE, Asks, Measured, ModelMissing, SignalModel, Unmeasured
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Sample

UNMEASURABLE = "[[unmeasurable]]"
"""A conversation with this text in it gets an error instead of signals."""

UNJUDGEABLE = "[[unjudgeable]]"
"""A conversation with this text in it is measured, and not judged."""

REFUSED = "[[refused]]"
"""A request with this text in it is refused as a whole."""


@dataclass(frozen=True, slots=True)
class PseudoSignals:
    """What a model would have said; alike texts have alike embeddings (bags of words, case aside)."""

    loss_mean: float
    loss_std: float
    prompt_tokens: int
    response_tokens: int
    prompt: np.ndarray
    conversation: np.ndarray
    error: str = ""


def pseudo_signals(text: bytes, size: int = 576) -> PseudoSignals:
    """The pseudo-signals of a conversation as JSON; `error` where a real model could not measure it either."""
    turns = json.loads(text)["messages"]
    last = max((index for index, turn in enumerate(turns) if turn["role"] == "assistant"), default=None)
    if last is None or UNMEASURABLE.encode() in text:
        error = "no assistant turn, so no response" if last is None else "asked to be unmeasurable"
        none = np.zeros(size, np.float32)
        return PseudoSignals(float("nan"), float("nan"), 0, 0, none, none, error)
    prompt = _words(turns[:last])
    response = _words(turns[last : last + 1])
    hashed = zlib.crc32(" ".join(response).encode())
    return PseudoSignals(
        loss_mean=float(np.float32(0.2 + hashed % 2800 / 1000)),
        loss_std=float(np.float32(0.1 + hashed % 900 / 1000)),
        prompt_tokens=len(prompt) + 3,
        response_tokens=len(response) + 1,
        prompt=_bag(prompt, size),
        conversation=_bag(prompt + response, size),
    )


def _words(turns: Sequence[dict[str, Any]]) -> list[str]:
    return [word for turn in turns for word in turn["content"].lower().split()]


def _bag(words: Sequence[str], size: int) -> np.ndarray:
    hashes = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words] or [0], dtype=np.int64)
    bag = np.bincount(hashes % size, weights=1 - 2 * (hashes >> 20 & 1), minlength=size)
    bag[0] += 0.001  # words may cancel out, and a vector of zeros has no direction
    unit: np.ndarray = (bag / np.linalg.norm(bag)).astype(np.float32)
    return unit


def pseudo_scores(text: bytes) -> tuple[float, ...]:
    """Six scores from 0 to 10 by which any text differs from most; NaN where the judge gives none."""
    if UNJUDGEABLE.encode() in text:
        return (float("nan"),) * len(JUDGED)
    return tuple(float(np.float32(zlib.crc32(name.encode() + text) % 10_001 / 1000)) for name in JUDGED)


PSEUDO_RULER = "5" * 64
NO_SCORE = "asked not to be judged"
JUDGE_TOKENS = 7
"""What judging any text costs."""
PLAIN_TOKENS = 5
"""What embedding any prompt as plain text costs."""


def pseudo_plain(said: PseudoSignals) -> np.ndarray:
    """The embedding of a prompt as plain text: every third number of the other one counts, so that others lie apart."""
    some = np.where(np.arange(len(said.prompt)) % 3 == 1, said.prompt, 0.02)
    unit: np.ndarray = (some / np.linalg.norm(some)).astype(np.float32)
    return unit


@dataclass
class FakeSignalModel:
    """One version of one model; `calls` holds the ids measured in each call, `asked` what else it was asked."""

    name: str
    version: str
    calls: list[list[str]] = field(default_factory=list)
    asked: list[Asks] = field(default_factory=list)
    fails_with: Exception | None = None

    async def measure(self, samples: Sequence[Sample], role: str, asks: Asks = NOTHING_MORE) -> Sequence[Measured | Unmeasured]:
        self.calls.append([sample.id for sample in samples])
        self.asked.append(asks)
        if self.fails_with is not None:
            raise self.fails_with
        return [self._measured(conversation_json(sample), role, asks) for sample in samples]

    def _measured(self, text: bytes, role: str, asks: Asks) -> Measured | Unmeasured:
        if REFUSED.encode() in text:
            return Unmeasured("asked to be refused")
        said = pseudo_signals(text)
        signals = Signals(
            role,
            self.name,
            self.version,
            None if said.error else said.loss_mean,
            None if said.error else said.loss_std,
            said.prompt_tokens,
            said.response_tokens,
            error=said.error,
            judgement=_judgement(text, said.error, asks.judge) if asks.judge else None,
        )
        embeddings = Embeddings(self.name, self.version, said.prompt.tobytes(), said.conversation.tobytes())
        return Measured(
            signals,
            None if said.error else embeddings,
            pseudo_plain(said).tobytes() if asks.plain_prompt and not said.error else b"",
            JUDGE_TOKENS * bool(asks.judge) + PLAIN_TOKENS * asks.plain_prompt,
        )


def _judgement(text: bytes, error: str, judge: Judge) -> Judgement:
    error = error or (NO_SCORE if UNJUDGEABLE.encode() in text else "")
    if error:
        return Judgement(judge.value, PSEUDO_RULER, error=error)
    scores = dict(zip(JUDGED, pseudo_scores(text), strict=True))
    return Judgement(judge.value, PSEUDO_RULER, **scores)  # type: ignore[arg-type]  # names of scores alone


@dataclass
class FakeSignalModels:
    """A server with these models; the first is the current one."""

    models: list[FakeSignalModel]
    is_gone: Callable[[], bool] = lambda: False

    async def current(self) -> SignalModel:
        if not self.models:
            raise ModelMissing("the server has no model signals")
        return self.models[0]

    async def named(self, name: str) -> SignalModel:
        for model in self.models:
            if model.name == name:
                return model
        raise ModelMissing(f"the server has no model {name}")

    def at(self, name: str, version: str) -> SignalModel:
        for model in self.models:
            if (model.name, model.version) == (name, version):
                return model
        return FakeSignalModel(name, version, fails_with=ModelMissing(f"the server has no model {name} version {version}"))

    async def ping(self) -> None:
        if self.is_gone():
            raise ConnectionError("gone")
