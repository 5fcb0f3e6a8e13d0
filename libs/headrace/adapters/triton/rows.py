"""What a signal model on Triton is sent, and its answer as core types: shapes, counts and numbers are checked, not trusted."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc import InferResult

from headrace.adapters.wire.samples import chat_form
from headrace.core.dossiers import JUDGED, Embeddings, Judgement, Signals
from headrace.core.ports.signal_model import NOTHING_MORE, Asks, Measured
from headrace.core.rounds.surveys import Judge
from headrace.core.samples import Sample

_SCORE_MAX = 10


class Unintelligible(ValueError):
    """The answer is not what the interface promises: the model behind that name is another one."""


def conversation_json(sample: Sample) -> bytes:
    """The sample's messages in OpenAI chat form and its tools, as JSON; nothing else of it."""
    messages = json.dumps([chat_form(message) for message in sample.messages], ensure_ascii=False)
    # A lone surrogate is no reason to fail here: the model names it in that conversation's error.
    return f'{{"messages": {messages}, "tools": {sample.tools_json or "null"}}}'.encode("utf-8", "surrogatepass")


def parts(texts: Sequence[bytes], *, rows_max: int, bytes_max: int) -> Iterator[list[bytes]]:
    """The texts in order, in parts within both bounds; a text above `bytes_max` has a part of its own."""
    part: list[bytes] = []
    size = 0
    for text in texts:
        if part and (len(part) == rows_max or size + len(text) > bytes_max):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def measured_rows(
    result: InferResult, rows: int, *, role: str, model: str, model_version: str, asks: Asks = NOTHING_MORE
) -> Iterator[Measured]:
    """One outcome per row; a row with an error, or with a number that is not finite, was not made.

    With a judge each row's signals carry a judgement; what of a sample it could not read counts as cut off there too. A prompt
    that has no usable embedding as plain text has none; nothing else of its row is in doubt for that.

    Raises:
        Unintelligible: outputs are missing or misshapen, or another version answered.
    """
    answered_by = result.get_response().model_version
    if answered_by != model_version:
        raise Unintelligible(f"version {answered_by!r} answered where {model_version!r} was asked")
    errors = _column(result, "ERROR", rows)
    means, stds = _column(result, "LOSS_MEAN", rows), _column(result, "LOSS_STD", rows)
    prompt_tokens, response_tokens = _column(result, "PROMPT_TOKENS", rows), _column(result, "RESPONSE_TOKENS", rows)
    truncated = _column(result, "TRUNCATED", rows)
    prompts = _matrix(result, "PROMPT_EMBEDDING", rows)
    conversations = _matrix(result, "CONVERSATION_EMBEDDING", rows)
    verdicts = _verdicts(result, rows, asks.judge) if asks.judge else [_Verdict()] * rows
    plain = _plain_prompts(result, rows) if asks.plain_prompt else [(b"", 0)] * rows
    for row, (verdict, (plain_prompt, plain_tokens)) in enumerate(zip(verdicts, plain, strict=True)):
        error = _text(errors[row]) or _doubt(float(means[row]), float(stds[row]), prompts[row], conversations[row])
        signals = Signals(
            role=role,
            model=model,
            model_version=model_version,
            loss_mean=None if error else float(means[row]),
            loss_std=None if error else float(stds[row]),
            prompt_tokens=int(prompt_tokens[row]),
            response_tokens=int(response_tokens[row]),
            truncated=bool(truncated[row]) or verdict.truncated,
            error=error,
            judgement=verdict.judgement,
        )
        yield Measured(
            signals,
            None if error else Embeddings(model, model_version, prompts[row].tobytes(), conversations[row].tobytes()),
            b"" if error else plain_prompt,
            verdict.tokens + plain_tokens,
        )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the judge said of one row."""

    judgement: Judgement | None = None
    truncated: bool = False
    tokens: int = 0


def _verdicts(result: InferResult, rows: int, judge: Judge) -> list[_Verdict]:
    scores = _matrix(result, "JUDGEMENT", rows)
    if scores.shape[1] != len(JUDGED):
        raise Unintelligible(f"output JUDGEMENT has {scores.shape[1]} scores a row, not {len(JUDGED)}")
    errors, rulers = _column(result, "JUDGE_ERROR", rows), _column(result, "JUDGE_RULER", rows)
    truncated, tokens = _column(result, "JUDGE_TRUNCATED", rows), _column(result, "JUDGE_TOKENS", rows)
    return [
        _Verdict(
            _judgement(judge.value, _text(rulers[row]), scores[row].tolist(), _text(errors[row])),
            bool(truncated[row]),
            max(0, int(tokens[row])),
        )
        for row in range(rows)
    ]


def _plain_prompts(result: InferResult, rows: int) -> list[tuple[bytes, int]]:
    vectors, tokens = _matrix(result, "PLAIN_EMBEDDING", rows), _column(result, "PLAIN_TOKENS", rows)
    return [
        (vector.tobytes() if _is_unit(vector) else b"", max(0, int(count))) for vector, count in zip(vectors, tokens, strict=True)
    ]


def _judgement(mode: str, ruler: str, scores: Sequence[float], error: str) -> Judgement:
    if not error and not all(0 <= score <= _SCORE_MAX for score in scores):  # false for NaN too
        error = f"the model server sent a score that is not within 0 and {_SCORE_MAX}"
    if error:
        return Judgement(mode, ruler, error=error)
    return Judgement(mode, ruler, **dict(zip(JUDGED, scores, strict=True)))  # type: ignore[arg-type]  # names of scores alone


def _doubt(mean: float, std: float, prompt: np.ndarray, conversation: np.ndarray) -> str:
    if not (math.isfinite(mean) and math.isfinite(std) and mean >= 0 and std >= 0):
        return f"the model server sent a loss of {mean} and a deviation of {std}"
    if not (_is_unit(prompt) and _is_unit(conversation)):
        return "the model server sent an embedding that is not of unit length"
    return ""


def _is_unit(vector: np.ndarray) -> bool:
    return bool(abs(float(np.linalg.norm(vector)) - 1) < 1e-3)  # noqa: PLR2004 - float32 of any size; false for NaN too


def _column(result: InferResult, name: str, rows: int) -> np.ndarray:
    values = result.as_numpy(name)
    if values is None or values.size != rows:
        raise Unintelligible(f"output {name} is missing or not one value per row")
    flat: np.ndarray = values.ravel()
    return flat


def _matrix(result: InferResult, name: str, rows: int) -> np.ndarray:
    values = result.as_numpy(name)
    if values is None or values.dtype != np.float32 or values.shape[:1] != (rows,) or values.ndim != 2 or not values.shape[1]:  # noqa: PLR2004 - a matrix
        raise Unintelligible(f"output {name} is missing or not one float32 vector per row")
    matrix: np.ndarray = np.ascontiguousarray(values, dtype="<f4")
    return matrix


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
