"""A Triton model with the interface of `signals` and no torch: it says what is written in its weights.

The loss is the first number of `q_proj`, the embeddings have as many dimensions as it has rows; their directions follow from the
text. Loading a version takes as long as the file `load_s` beside the repository says.
"""

import hashlib
import json
import os
import site
import time
from pathlib import Path

site.addsitedir(os.environ["HEADRACE_LM_PACKAGES"])

import numpy as np
import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # only Triton has it

INPUTS = ("CONVERSATION", "JUDGE", "PLAIN")
Q = "model.layers.0.self_attn.q_proj.weight"


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args):
        repository = Path(args["model_repository"])
        with (repository.parent.parent / "loads.log").open("a") as log:
            log.write(f"{args['model_version']}\n")
        wait = repository.parent.parent / "load_s"
        time.sleep(float(wait.read_text()) if wait.exists() and args["model_version"] != "1" else 0)
        with (repository / args["model_version"] / "weights" / "model.safetensors").open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(length))[Q]
            file.seek(8 + length + entry["data_offsets"][0])
            self._loss = np.frombuffer(file.read(4), "<f4")[0]
        self._size = entry["shape"][0]

    def execute(self, requests):
        return [self._answer(*(pb.get_input_tensor_by_name(request, name) for name in INPUTS)) for request in requests]

    def _answer(self, conversations, judge, plain):
        texts = conversations.as_numpy().ravel()
        rows, directions = len(texts), np.stack([_direction(text, self._size) for text in texts])
        columns = {
            "LOSS_MEAN": np.full((rows, 1), self._loss, np.float32),
            "LOSS_STD": np.full((rows, 1), 0.1, np.float32),
            "PROMPT_TOKENS": np.full((rows, 1), 3, np.int32),
            "RESPONSE_TOKENS": np.full((rows, 1), 3, np.int32),
            "TRUNCATED": np.zeros((rows, 1), np.bool_),
            "PROMPT_EMBEDDING": directions,
            "CONVERSATION_EMBEDDING": directions,
            "ERROR": np.array([[b""]] * rows, np.object_),
        }
        if judge is not None:
            columns |= {
                "JUDGEMENT": np.clip(5 + 5 * directions[:, np.arange(6) % self._size], 0, 10).astype(np.float32),
                "JUDGE_MASS": np.full((rows, 1), 0.5, np.float32),
                "JUDGE_TOKENS": np.full((rows, 1), 7, np.int32),
                "JUDGE_TRUNCATED": np.zeros((rows, 1), np.bool_),
                "JUDGE_RULER": np.array([[b"5" * 64]] * rows, np.object_),
                "JUDGE_ERROR": np.array([[b""]] * rows, np.object_),
            }
        if plain is not None:
            columns |= {"PLAIN_EMBEDDING": np.roll(directions, 1, axis=1), "PLAIN_TOKENS": np.full((rows, 1), 2, np.int32)}
        return pb.InferenceResponse([pb.Tensor(name, values) for name, values in columns.items()])


def _direction(text, size):
    """A vector of length one: the same text, the same vector."""
    luck = np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))
    vector = luck.normal(size=size).astype(np.float32)
    return vector / np.linalg.norm(vector)
