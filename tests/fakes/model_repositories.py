"""A model repository with a tiny model in it, checkpoints of that model, and a model server that serves it.

What the tiny model says of any conversation is written in its weights: the loss is the first number of its `q_proj`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrace.adapters.checkpoints.tensor_files import tensors_of
from headrace.adapters.triton.model_repository import ModelRepository
from headrace.core.dossiers import CURRENT, Embeddings, Signals
from headrace.core.events import Stop
from headrace.core.ports.model_server import NotLoaded
from headrace.core.ports.signal_model import Measured, ModelMissing, Unmeasured
from headrace.core.samples import Sample

Q = "model.layers.0.self_attn.q_proj.weight"
HIDDEN = 6
CONFIG = {
    "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": 1, "vocab_size": 4, "num_attention_heads": 2,
}  # fmt: skip
ADAPTER_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "init_lora_weights": True}


def tensors(loss: float = 2.0) -> dict[str, np.ndarray]:
    """The tiny model's weights, with this loss."""
    luck = np.random.default_rng(5)
    made = {"model.embed.weight": (4, HIDDEN), Q: (HIDDEN, HIDDEN), "model.norm.weight": (HIDDEN,)}
    weights = {name: luck.normal(size=shape).astype(np.float32) for name, shape in made.items()}
    weights[Q][0, 0] = loss
    return weights


def write_tensors(path: Path, weights: Mapping[str, np.ndarray], dtype: str = "F32") -> None:
    """A safetensors file; BF16 takes arrays of its bits (uint16)."""
    header: dict[str, Any] = {}
    body = b""
    for name, values in weights.items():
        part = values.astype({"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(part)]}
        body += part
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def weights_folder(folder: Path, loss: float = 2.0, **config: Any) -> Path:
    """A folder of weights in the Hugging Face layout."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("the base's")
    write_tensors(folder / "model.safetensors", tensors(loss))
    return folder


def adapter_folder(folder: Path, change: float = 0.5, **config: Any) -> Path:
    """An adapter in PEFT's format that adds `change` to the loss."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER_CONFIG | config))
    down, up = np.zeros((2, HIDDEN), np.float32), np.zeros((HIDDEN, 2), np.float32)
    down[0, 0], up[0, 0] = 1.0, change / 2  # alpha / r is 2
    name = f"base_model.model.{Q.removesuffix('.weight')}"
    write_tensors(folder / "adapter_model.safetensors", {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up})
    return folder


def model_repository(root: Path, loss: float = 2.0, code: str = "", config: str = 'backend: "python"\n') -> ModelRepository:
    """A repository whose model `signals` has version 1."""
    version = root / "signals" / "1"
    weights_folder(version / "weights", loss)
    (root / "signals" / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(code)
    (version / "__pycache__").touch()
    return ModelRepository(root)


@dataclass
class FakeModelServer:
    """Serves what the repository's configuration names, as Triton does with explicit model control.

    `breaks` names versions that cannot be loaded, with the reason; `measured` replaces what a version says. `before` is called
    with each action: a test that raises there kills whoever asked.
    """

    repository: ModelRepository
    loaded: set[int] = field(default_factory=lambda: {1})
    most_loaded: int = 1
    loads: list[tuple[int, ...]] = field(default_factory=list)
    breaks: dict[int, str] = field(default_factory=dict)
    measured: dict[int, Callable[[Measured], Measured | Unmeasured]] = field(default_factory=dict)
    down: bool = False
    before: Callable[[str], None] = lambda _: None

    async def ready(self, model: str) -> tuple[int, ...]:
        self._require_up("ready")
        return tuple(sorted(self.loaded)) if model == "signals" else ()

    async def load(self, model: str, *, within_s: float) -> None:
        self._require_up("load")
        served = self.repository.served(model)
        wanted = {max(self.repository.versions(model))} if served is None else set(served)
        self.loads.append(tuple(sorted(wanted)))
        broken = [self.breaks[version] for version in sorted(wanted - self.loaded) if version in self.breaks]
        if broken:
            raise NotLoaded(broken[0])
        self.most_loaded = max(self.most_loaded, len(self.loaded | wanted))
        self.loaded = {version for version in wanted if self.repository.weights(model, version).is_dir()}
        self.before("loaded")

    async def unloaded(self, model: str, keep: frozenset[int], *, within_s: float) -> None:
        self._require_up("unloaded")
        if not self.loaded <= keep:
            raise NotLoaded("an older version is still there")

    async def measure(self, model: str, version: int, samples: Sequence[Sample]) -> Sequence[Measured | Unmeasured]:
        self._require_up("measure")
        if version not in self.loaded:
            raise ModelMissing(f"no version {version}")
        folder = self.repository.weights(model, version)
        weights = tensors_of(sorted(folder.glob("*.safetensors")), header_bytes_max=2**20)
        loss = float(weights[Q].read()[0, 0])
        vector = np.ones(weights[Q].shape[0], np.float32).tobytes()
        signals = Signals(CURRENT, model, str(version), loss, 0.1, 3, 3)
        said = Measured(signals, Embeddings(model, str(version), vector, vector))
        return [self.measured.get(version, lambda each: each)(said) for _ in samples]

    def _require_up(self, action: str) -> None:
        self.before(action)
        if self.down:
            raise Stop("the model server is gone")
