"""Small checkpoints: folders whose weights are real safetensors files of a few numbers."""

import json
from pathlib import Path
from typing import Any

from headrace.adapters.checkpoints.store import CheckpointDetails
from headrace.core.checkpoints import CheckpointKind, PositionRange, TrainingData


def safetensors_bytes(tensors: dict[str, list[int]], fill: int = 1) -> bytes:
    """A safetensors file of float32 tensors of these shapes."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 4
        for number in shape:
            size *= number
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes([fill]) * end


def adapter_folder(folder: Path, fill: int = 1) -> Path:
    """A folder as PEFT and TRL leave it, with what is no part of a checkpoint."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes({"a": [4, 2], "b": [2, 4]}, fill))
    (folder / "training_args.bin").write_bytes(b"\x80\x04K\x01.")
    (folder / "README.md").write_text("notes")
    (folder / "checkpoint-10").mkdir()
    return folder


def details(**changes) -> CheckpointDetails:
    """What a trainer says of `adapter_folder`."""
    data = TrainingData("math", "a" * 64, (PositionRange(0, 3, 9),), 0.1, "seed", rows_trained=9, rows_held_out=1)
    said: dict[str, Any] = {
        "model": "signals",
        "kind": CheckpointKind.ADAPTER,
        "base_model": "SmolLM2-135M-Instruct",
        "base_sha256": "b" * 64,
        "data": data,
        "hyperparameters": {"learning_rate": 2e-4, "steps": 3},
        "metrics": {"train_loss": 1.25, "seconds": 3.0},
        "run_id": "run-1",
    }
    return CheckpointDetails(**(said | changes))
