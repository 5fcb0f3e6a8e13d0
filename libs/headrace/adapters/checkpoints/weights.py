"""From a fetched checkpoint to a folder of weights that the model server loads: compared with its base, then put together.

Of a full checkpoint only the tensors are taken, of an adapter only its matrices; configuration and tokenizer are the base's own
files. So a checkpoint cannot bring code, another chat template or another kind of model.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.adapters.checkpoints.lora_merge import merge
from headrace.adapters.checkpoints.store import CheckpointLimits
from headrace.adapters.checkpoints.tensor_files import FLOATS, Tensor, tensors_of
from headrace.adapters.triton.model_repository import ModelRepository
from headrace.core.checkpoint_manifests import BadCheckpoint
from headrace.core.checkpoint_retention import WEIGHTS_SUFFIX
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished
from headrace.lm.weights import weights_sha256

CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"
_CONFIG_BYTES_MAX = 1024 * 1024
_TEXTS = (".json", ".txt", ".jinja", ".model")
_ARCHITECTURE = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
_WHERE_SAID = (
    "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "tie_word_embeddings", "hidden_act",
)  # fmt: skip
"""Older configurations leave out what is as by default."""


class OtherArchitecture(BadCheckpoint):
    """The checkpoint is of another model than its base; the message names the difference."""


class UnknownBase(BadCheckpoint):
    """No version at hand has the weights that an adapter was trained on."""


@dataclass(frozen=True, slots=True)
class Assembler:
    """Makes versions of checkpoints in a model repository."""

    repository: ModelRepository
    limits: CheckpointLimits

    def install(self, published: CheckpointPublished, fetched: Path, *, version: int, first: int, like: int) -> None:
        """Makes `version` of the fetched checkpoint; at once where that was done before.

        `first` is the version that the model server began with, `like` the one whose code measures. It blocks, for as long
        as it takes to read and write the weights once or twice.

        Raises:
            BadCheckpoint: the checkpoint is none that can be served; the message says why.
            OSError: the repository cannot be written.
        """
        model = published.model
        if self.repository.holds(model, version, published.checkpoint_id):
            return
        base = self._base(published, first)
        with self.repository.unfinished() as folder:
            weights = folder / "weights"
            weights.mkdir()
            if published.kind is CheckpointKind.ADAPTER:
                merge(fetched, base, weights, header_bytes_max=self.limits.header_bytes_max)
                _copy_texts(base, weights, lambda name: name != CONFIG)
            else:
                self._require_same(fetched, base)
                _copy_tensors(fetched, weights)
                _copy_texts(base, weights, lambda name: name not in {CONFIG, _INDEX})
                _write_index(weights, self._tensors(weights))
            shutil.copyfile(base / CONFIG, weights / CONFIG)
            self.repository.install(model, version, weights, checkpoint_id=published.checkpoint_id, like=like)

    def _base(self, published: CheckpointPublished, first: int) -> Path:
        """The weights that an adapter belongs to; for a full checkpoint those that the model server began with."""
        repository, model = self.repository, published.model
        if published.kind is CheckpointKind.FULL:
            return repository.weights(model, first)
        candidates = (first, *(version for version in repository.versions(model) if version != first))
        for version in candidates:
            folder = repository.weights(model, version)
            if any(folder.glob(f"*{WEIGHTS_SUFFIX}")) and weights_sha256(folder) == published.base_sha256:
                return folder
        raise UnknownBase(
            f"base_sha256 {published.base_sha256[:12]} is none of the {len(candidates)} versions of {model} that lie in "
            "HEADRACE_CONTROLLER_MODEL_REPOSITORY, and of none that was announced: the adapter was trained on other weights"
        )

    def _require_same(self, fetched: Path, base: Path) -> None:
        ours, theirs = _config(base / CONFIG), _config(fetched / CONFIG)
        for key in (*_ARCHITECTURE, *(key for key in _WHERE_SAID if key in theirs)):
            if key in ours and ours[key] != theirs.get(key):
                raise OtherArchitecture(f"{CONFIG}: {key} is {str(theirs.get(key))[:80]}, the base's is {str(ours[key])[:80]}")
        had, has = self._tensors(base), self._tensors(fetched)
        if had.keys() != has.keys():
            name = min(had.keys() ^ has.keys())
            raise OtherArchitecture(f"tensor {name[:120]} is {'missing' if name in had else 'none of the base'}")
        for name, tensor in has.items():
            if tensor.shape != had[name].shape:
                raise OtherArchitecture(f"tensor {name[:120]} has shape {list(tensor.shape)}, the base's {list(had[name].shape)}")
            if tensor.dtype != had[name].dtype and not {tensor.dtype, had[name].dtype} <= FLOATS:
                raise OtherArchitecture(f"tensor {name[:120]} is {tensor.dtype}, the base's {had[name].dtype}")

    def _tensors(self, folder: Path) -> dict[str, Tensor]:
        files = sorted(folder.glob(f"*{WEIGHTS_SUFFIX}"))
        try:
            return tensors_of(files, header_bytes_max=self.limits.header_bytes_max)
        except ValueError as error:
            raise OtherArchitecture(str(error)) from error


def _config(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > _CONFIG_BYTES_MAX:
        raise OtherArchitecture(f"{CONFIG} is longer than {_CONFIG_BYTES_MAX} bytes")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise OtherArchitecture(f"{CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise OtherArchitecture(f"{CONFIG} is no JSON object")
    return config


def _copy_tensors(source: Path, target: Path) -> None:
    """The weights files, named as a loader expects them: it looks for nothing else."""
    files = sorted(source.glob(f"*{WEIGHTS_SUFFIX}"))
    for number, file in enumerate(files, 1):
        name = f"model{WEIGHTS_SUFFIX}" if len(files) == 1 else f"model-{number:05}-of-{len(files):05}{WEIGHTS_SUFFIX}"
        try:
            os.link(file, target / name)
        except OSError:  # another file system
            shutil.copyfile(file, target / name)


def _write_index(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Which of several files holds which tensor."""
    if len({tensor.file for tensor in tensors.values()}) > 1:
        size = sum(tensor.end - tensor.begin for tensor in tensors.values())
        index = {"metadata": {"total_size": size}, "weight_map": {name: each.file.name for name, each in tensors.items()}}
        (folder / _INDEX).write_text(json.dumps(index))


def _copy_texts(source: Path, target: Path, wanted: Callable[[str], bool]) -> None:
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix in _TEXTS and wanted(file.name):
            shutil.copyfile(file, target / file.name)
