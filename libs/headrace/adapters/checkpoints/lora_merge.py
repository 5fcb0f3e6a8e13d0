"""LoRA adapters in PEFT's format, merged into the weights they were trained on: W + scale · B·A, in float32.

What would mean something else than that (another method, another starting point, patterns by layer) is refused, never ignored.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headrace.adapters.checkpoints.tensor_files import FLOATS, Floats, Tensor, rewrite, tensors_of
from headrace.core.checkpoint_manifests import BadCheckpoint

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_CONFIG_BYTES_MAX = 1024 * 1024
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_MATRIX = 2

# Another start changes the base weights, or is converted when it is saved: only those that leave them alone are known here.
_STARTS = (True, False, "gaussian", "orthogonal", "eva")
_UNDERSTOOD = {
    "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout",
    "megatron_config", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "revision", "runtime_config",
    "target_modules", "task_type", "use_rslora",
}  # fmt: skip
"""Keys that are read here, or change nothing in a merge; any other one that is set may change what the adapter means."""


class Unmergeable(BadCheckpoint):
    """The adapter is none that is merged here, or does not fit its base; the message says why."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as its configuration describes it; `transposed` where the base keeps its matrices input first."""

    scale: Callable[[int], float]
    transposed: bool


def merge(adapter: Path, base: Path, out: Path, *, header_bytes_max: int) -> int:
    """Writes the base's weights files to the folder `out`, the adapter merged into them; returns how many matrices changed.

    Raises:
        Unmergeable: as it says.
        headrace.core.checkpoint_manifests.UnsafeCheckpoint: a file is not in the safetensors format.
    """
    described = _described(adapter / CONFIG)
    files = sorted(base.glob("*.safetensors"))
    weights = tensors_of(files, header_bytes_max=header_bytes_max)
    changes = _changes(tensors_of([adapter / WEIGHTS], header_bytes_max=header_bytes_max), weights, described)
    for file in files:
        own = {name: change for name, change in changes.items() if weights[name].file == file}
        rewrite(file, out / file.name, own)
    return len(changes)


def _described(path: Path) -> Adapter:
    if path.stat().st_size > _CONFIG_BYTES_MAX:
        raise Unmergeable(f"{CONFIG} is longer than {_CONFIG_BYTES_MAX} bytes")
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        kind, alpha, start = config["peft_type"], float(config["lora_alpha"]), config.get("init_lora_weights", True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unmergeable(f"{CONFIG} describes no LoRA adapter: {error!r}") from error
    if kind != "LORA":
        raise Unmergeable(f"{CONFIG}: peft_type is {str(kind)[:40]!r}, only LORA is merged")
    meant = sorted(key for key, value in config.items() if value and key not in _UNDERSTOOD)
    if meant or config.get("bias", "none") != "none":
        raise Unmergeable(f"{CONFIG}: {', '.join(meant)[:200] or 'bias'} is set, which is not merged here")
    if start not in _STARTS:
        raise Unmergeable(f"{CONFIG}: init_lora_weights is {str(start)[:40]!r}, which starts from other base weights")
    if not math.isfinite(alpha):
        raise Unmergeable(f"{CONFIG}: lora_alpha is {alpha}")
    root = bool(config.get("use_rslora"))
    return Adapter(lambda rank: alpha / (math.sqrt(rank) if root else rank), bool(config.get("fan_in_fan_out")))


def _changes(
    adapter: Mapping[str, Tensor], weights: Mapping[str, Tensor], described: Adapter
) -> dict[str, Callable[[Floats], Floats]]:
    changes: dict[str, Callable[[Floats], Floats]] = {}
    unknown = sorted(name for name in adapter if not (name.startswith(_PREFIX) and name.endswith((_A, _B))))
    if unknown:
        raise Unmergeable(f"{WEIGHTS}: {unknown[0][:120]} is no part of a LoRA matrix")
    for name in sorted({name.removesuffix(_A).removesuffix(_B) for name in adapter}):
        down, up = adapter.get(name + _A), adapter.get(name + _B)
        target = weights.get(f"{name.removeprefix(_PREFIX)}.weight")
        if down is None or up is None:
            raise Unmergeable(f"{WEIGHTS}: {name[:120]} has one of its two matrices only")
        if target is None:
            raise Unmergeable(f"{WEIGHTS}: the base has no weights {name.removeprefix(_PREFIX)[:120]}.weight")
        _require_fit(down, up, target, described)
        changes[target.name] = partial(_merged, down=down, up=up, described=described)
    return changes


def _require_fit(down: Tensor, up: Tensor, target: Tensor, described: Adapter) -> None:
    for tensor in (down, up, target):
        if tensor.dtype not in FLOATS or len(tensor.shape) != _MATRIX:
            raise Unmergeable(f"{tensor.name[:120]}: {tensor.dtype} of shape {list(tensor.shape)} is not merged here")
    made = (up.shape[0], down.shape[1])
    if up.shape[1] != down.shape[0] or not up.shape[1] or target.shape != (made[::-1] if described.transposed else made):
        raise Unmergeable(
            f"{target.name[:120]}: shapes {list(up.shape)} and {list(down.shape)} do not make one of {list(target.shape)}"
        )


def _merged(weights: Floats, *, down: Tensor, up: Tensor, described: Adapter) -> Floats:
    change = up.read() @ down.read() * described.scale(up.shape[1])
    result: Floats = weights + (change.T if described.transposed else change)
    return result
