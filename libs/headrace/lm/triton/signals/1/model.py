# ruff: noqa: INP001 - the folders are those of a Triton repository, not of a package
"""The Triton face of headrace.lm.signals: takes apart requests, measures their rows together, answers each.

Weights lie beside this file in `weights`, so that one version of the model is one set of weights. Environment:
HEADRACE_LM_LIBS is the folder that holds the package `headrace`, HEADRACE_LM_PACKAGES the one that torch and transformers are
installed in (Triton's Python takes no PYTHONPATH); HEADRACE_LM_TOKENS_MAX, _ROW_TOKENS_MAX, _DEVICE, _DTYPE and _WORKERS
override the parameters of config.pbtxt.
"""

import json
import os
import site
import sys
from collections.abc import Sequence
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
        from headrace.lm.signals import Limits, SignalMeter  # noqa: PLC0415

        parameters = json.loads(args["model_config"])["parameters"]
        setting = {name: os.environ.get(_PREFIX + name, held["string_value"]) for name, held in parameters.items()}
        self._meter = SignalMeter.load(
            Path(args["model_repository"]) / args["model_version"] / "weights",
            device=setting["DEVICE"],
            dtype=setting["DTYPE"],
            limits=Limits(tokens_max=int(setting["TOKENS_MAX"]), row_tokens_max=int(setting["ROW_TOKENS_MAX"])),
            workers=int(setting["WORKERS"]),
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; the rows of all of them go through the model together."""
        texts = [pb.get_input_tensor_by_name(request, "CONVERSATION").as_numpy().ravel() for request in requests]
        rows = iter(self._measured([text for some in texts for text in some]))
        return [pb.InferenceResponse([*_tensors([next(rows) for _ in some], self._meter.embedding_size)]) for some in texts]

    def _measured(self, texts: Sequence[bytes]) -> list[Any]:
        conversations: list[Any] = []
        unreadable: dict[int, str] = {}
        for index, text in enumerate(texts):
            try:
                conversations.append(json.loads(text))
            except (ValueError, RecursionError) as error:  # the first also stands for what is no UTF-8
                conversations.append(None)
                unreadable[index] = f"not JSON: {error}"
        rows = self._meter.measure(conversations)
        return [replace(row, error=unreadable.get(index, row.error)) for index, row in enumerate(rows)]


def _tensors(rows: Sequence[Any], size: int) -> list[Any]:
    def column(values: Sequence[Any], dtype: Any) -> np.ndarray:
        return np.array(values, dtype=dtype).reshape(len(rows), -1)

    none = np.zeros(size, np.float32)
    prompts = [none if row.prompt_embedding is None else row.prompt_embedding for row in rows]
    conversations = [none if row.conversation_embedding is None else row.conversation_embedding for row in rows]
    return [
        pb.Tensor("LOSS_MEAN", column([row.loss_mean for row in rows], np.float32)),
        pb.Tensor("LOSS_STD", column([row.loss_std for row in rows], np.float32)),
        pb.Tensor("PROMPT_TOKENS", column([row.prompt_tokens for row in rows], np.int32)),
        pb.Tensor("RESPONSE_TOKENS", column([row.response_tokens for row in rows], np.int32)),
        pb.Tensor("TRUNCATED", column([row.truncated for row in rows], np.bool_)),
        pb.Tensor("PROMPT_EMBEDDING", column(prompts, np.float32)),
        pb.Tensor("CONVERSATION_EMBEDDING", column(conversations, np.float32)),
        pb.Tensor("ERROR", column([row.error.encode() for row in rows], np.object_)),
    ]
