# ruff: noqa: INP001 - the folders are those of a Triton repository, not of a package
"""The Triton face of headrace.lm.signals: takes apart requests, measures their rows together, answers each.

Weights lie beside this file in `weights`, so that one version of the model is one set of weights. Environment:
HEADRACE_LM_LIBS is the folder that holds the package `headrace`, HEADRACE_LM_PACKAGES the one that torch and transformers are
installed in (Triton's Python takes no PYTHONPATH); HEADRACE_LM_<PARAMETER> overrides a parameter of config.pbtxt.
"""

import json
import os
import site
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

_PREFIX = "HEADRACE_LM_"

if _packages := os.environ.get(_PREFIX + "PACKAGES"):
    site.addsitedir(_packages)
if _libs := os.environ.get(_PREFIX + "LIBS"):
    sys.path.insert(0, _libs)

import numpy as np  # noqa: E402 - importable only from here on, like the other two
import triton_python_backend_utils as pb  # noqa: E402 - as above


class TritonPythonModel:
    """What Triton calls; one per instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the weights. Raises what keeps them from being loaded: Triton then reports the model as not ready."""
        # Triton imports this file once more, only to look at its configuration: that must not cost the seconds torch takes.
        from headrace.lm.judge_generated import Decoding  # noqa: PLC0415
        from headrace.lm.judges import JudgeLimits  # noqa: PLC0415
        from headrace.lm.signals import Limits, SignalMeter  # noqa: PLC0415

        parameters = json.loads(args["model_config"])["parameters"]
        setting = {name: os.environ.get(_PREFIX + name, held["string_value"]) for name, held in parameters.items()}
        limits = Limits(tokens_max=int(setting["TOKENS_MAX"]), row_tokens_max=int(setting["ROW_TOKENS_MAX"]))
        self._meter = SignalMeter.load(
            Path(args["model_repository"]) / args["model_version"] / "weights",
            device=setting["DEVICE"],
            dtype=setting["DTYPE"],
            limits=limits,
            workers=int(setting["WORKERS"]),
        )
        judge_limits = JudgeLimits(
            tokens_max=limits.tokens_max,
            row_tokens_max=limits.row_tokens_max,
            mass_min=float(setting["JUDGE_MASS_MIN"]),
            decoding=Decoding(new_tokens_max=int(setting["JUDGE_NEW_TOKENS_MAX"])),
        )
        self._judges = self._meter.judges(judge_limits)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; the rows of all of them go through the model together."""
        texts = [_values(request, "CONVERSATION") for request in requests]
        modes = [_values(request, "JUDGE") for request in requests]
        wishes = [_values(request, "PLAIN") for request in requests]
        conversations, unreadable = _parsed([text for some in texts for text in some])
        rows = iter(self._measured(conversations, unreadable))
        asked = [mode for some, judged in zip(texts, modes, strict=True) for mode in judged or [b""] * len(some)]
        verdicts = iter(self._judged(conversations, asked))
        wanted = [wish for some, plain in zip(texts, wishes, strict=True) for wish in plain or [False] * len(some)]
        prompts = iter(self._plain_prompts(conversations, wanted))
        size = self._meter.embedding_size
        responses = []
        for some, judged, plain in zip(texts, modes, wishes, strict=True):
            tensors = _tensors([next(rows) for _ in some], size)
            made = [next(verdicts) for _ in some]
            embedded = [next(prompts) for _ in some]
            asked_for = [*(_judge_tensors(made) if judged else ()), *(_plain_tensors(embedded, size) if plain else ())]
            responses.append(pb.InferenceResponse([*tensors, *asked_for]))
        return responses

    def _measured(self, conversations: Sequence[Any], unreadable: Mapping[int, str]) -> list[Any]:
        rows = self._meter.measure(conversations)
        return [replace(row, error=unreadable.get(index, row.error)) for index, row in enumerate(rows)]

    def _plain_prompts(self, conversations: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
        """Of each row that asked for it the embedding of its prompt as plain text; of the others None."""
        rows = [index for index, wish in enumerate(wanted) if wish]
        made: list[Any] = [None] * len(wanted)
        for index, one in zip(rows, self._meter.plain_prompts([conversations[index] for index in rows]), strict=True):
            made[index] = one
        return made

    def _judged(self, conversations: Sequence[Any], asked: Sequence[bytes]) -> list[tuple[Any, str]]:
        """What the judge says of each row, and the ruler's hash; of those that did not ask for it, that it was not asked."""
        from headrace.lm.judge import Judged  # noqa: PLC0415

        made = [(Judged(error="not asked for"), "")] * len(asked)
        for mode in sorted(set(asked) - {b""}):
            rows = [index for index, one in enumerate(asked) if one == mode]
            try:
                judged, ruler = self._judges.judge([conversations[index] for index in rows], mode.decode("utf-8", "replace"))
            except ValueError as error:
                judged, ruler = [Judged(error=str(error))] * len(rows), ""
            for index, one in zip(rows, judged, strict=True):
                made[index] = (one, ruler)
        return made


def _values(request: Any, name: str) -> list[Any]:
    """The tensor's values, none where the request does not have it."""
    tensor = pb.get_input_tensor_by_name(request, name)
    return [] if tensor is None else list(tensor.as_numpy().ravel())


def _parsed(texts: Sequence[bytes]) -> tuple[list[Any], dict[int, str]]:
    """The conversations, and why some are none."""
    conversations: list[Any] = []
    unreadable: dict[int, str] = {}
    for index, text in enumerate(texts):
        try:
            conversations.append(json.loads(text))
        except (ValueError, RecursionError) as error:  # the first also stands for what is no UTF-8
            conversations.append(None)
            unreadable[index] = f"not JSON: {error}"
    return conversations, unreadable


def _column(values: Sequence[Any], dtype: Any) -> np.ndarray:
    return np.array(values, dtype=dtype).reshape(len(values), -1)


def _tensors(rows: Sequence[Any], size: int) -> list[Any]:
    none = np.zeros(size, np.float32)
    prompts = [none if row.prompt_embedding is None else row.prompt_embedding for row in rows]
    conversations = [none if row.conversation_embedding is None else row.conversation_embedding for row in rows]
    return [
        pb.Tensor("LOSS_MEAN", _column([row.loss_mean for row in rows], np.float32)),
        pb.Tensor("LOSS_STD", _column([row.loss_std for row in rows], np.float32)),
        pb.Tensor("PROMPT_TOKENS", _column([row.prompt_tokens for row in rows], np.int32)),
        pb.Tensor("RESPONSE_TOKENS", _column([row.response_tokens for row in rows], np.int32)),
        pb.Tensor("TRUNCATED", _column([row.truncated for row in rows], np.bool_)),
        pb.Tensor("PROMPT_EMBEDDING", _column(prompts, np.float32)),
        pb.Tensor("CONVERSATION_EMBEDDING", _column(conversations, np.float32)),
        pb.Tensor("ERROR", _column([row.error.encode() for row in rows], np.object_)),
    ]


def _plain_tensors(rows: Sequence[Any], size: int) -> list[Any]:
    none = np.zeros(size, np.float32)
    embeddings = [none if row is None or row.embedding is None else row.embedding for row in rows]
    return [
        pb.Tensor("PLAIN_EMBEDDING", _column(embeddings, np.float32)),
        pb.Tensor("PLAIN_TOKENS", _column([0 if row is None else row.tokens for row in rows], np.int32)),
    ]


def _judge_tensors(rows: Sequence[tuple[Any, str]]) -> list[Any]:
    judged = [one for one, _ in rows]
    return [
        pb.Tensor("JUDGEMENT", _column([one.scores for one in judged], np.float32)),
        pb.Tensor("JUDGE_MASS", _column([one.mass for one in judged], np.float32)),
        pb.Tensor("JUDGE_TOKENS", _column([one.tokens for one in judged], np.int32)),
        pb.Tensor("JUDGE_TRUNCATED", _column([one.truncated for one in judged], np.bool_)),
        pb.Tensor("JUDGE_RULER", _column([ruler.encode() for _, ruler in rows], np.object_)),
        pb.Tensor("JUDGE_ERROR", _column([one.error.encode() for one in judged], np.object_)),
    ]
