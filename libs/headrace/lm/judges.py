"""The two ways in which one model judges itself, made when they are first asked for."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from transformers import PreTrainedModel

from headrace.core.rounds.surveys import Judge
from headrace.lm.conversations import ConversationReader, Unreadable
from headrace.lm.judge import Judged, LogitJudge
from headrace.lm.judge_generated import Decoding, GeneratedJudge
from headrace.lm.judge_layout import JudgeReader
from headrace.lm.score_tokens import NoScoreTokens, ScoreTokens


@dataclass(frozen=True, slots=True)
class JudgeLimits:
    """Bounds on judging: samples beyond `tokens_max` are cut at the end, a pass holds about `row_tokens_max` tokens.

    A judgement from logits whose score tokens had less than `mass_min` of the probability (0 to 1) is not made; a generated one
    is drawn as `decoding` says.
    """

    tokens_max: int = 2048
    row_tokens_max: int = 1024
    mass_min: float = 0.25
    decoding: Decoding = field(default_factory=Decoding)


class OneJudge(Protocol):
    """A way to judge; `ruler_hash` names all that its scores depend on but the sample and the weights."""

    ruler_hash: str

    def judge(self, conversations: Sequence[Mapping[str, Any]], *, pool: Executor, workers: int) -> list[Judged]: ...


class Judges:
    """A model's judges. `judge` may be called from one thread at a time; passes run in the pool, `workers` at a time."""

    def __init__(
        self, model: PreTrainedModel, reader: ConversationReader, *, limits: JudgeLimits, pool: Executor, workers: int
    ) -> None:
        self._model = model
        self._reader = reader
        self._limits = limits
        self._pool = pool
        self._workers = workers

    def judge(self, conversations: Sequence[Mapping[str, Any]], mode: str) -> tuple[list[Judged], str]:
        """One outcome per conversation, in order, and the ruler's hash: empty where this model cannot judge in that mode.

        Raises:
            ValueError: there is no such mode.
        """
        try:
            judge = self._by(mode)
        except (NoScoreTokens, Unreadable) as error:
            return [Judged(error=f"this model cannot judge: {error}")] * len(conversations), ""
        return judge.judge(conversations, pool=self._pool, workers=self._workers), judge.ruler_hash

    def _by(self, mode: str) -> OneJudge:
        if mode == Judge.LOGITS:
            return self._from_logits
        if mode == Judge.GENERATED:
            return self._generated
        raise ValueError(f"there is no judge {mode[:40]!r}: there are {Judge.LOGITS.value} and {Judge.GENERATED.value}")

    @cached_property
    def _from_logits(self) -> OneJudge:
        layout, limits = self._layout(Judge.LOGITS), self._limits
        tokens = ScoreTokens.of(self._reader.ids, layout.closing)
        return LogitJudge(self._model, layout, tokens, mass_min=limits.mass_min, row_tokens_max=limits.row_tokens_max)

    @cached_property
    def _generated(self) -> OneJudge:
        layout = self._layout(Judge.GENERATED)
        return GeneratedJudge(self._model, layout, self._reader.text, decoding=self._limits.decoding)

    def _layout(self, mode: Judge) -> JudgeReader:
        positions = getattr(self._model.config, "max_position_embeddings", None)
        if positions is not None and mode is Judge.GENERATED:
            positions -= self._limits.decoding.new_tokens_max
        return JudgeReader(self._reader, mode.value, tokens_max=self._limits.tokens_max, positions_max=positions)
