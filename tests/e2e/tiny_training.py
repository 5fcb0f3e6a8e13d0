"""Training that takes seconds, on a spine whose model server is `TinyTriton`."""

import json
import os
import struct
import subprocess
from pathlib import Path

from headrace.adapters.checkpoints.tensor_files import tensors_of
from headrace.local.checkout import model_python
from headrace.local.signals import default_weights
from tests.fakes.model_repositories import Q

_ROOT = Path(__file__).resolve().parents[2]
_LOSS = 2.0


def make_tiny_base(folder: Path) -> None:
    """The weights that training begins from: a tiny model with a real tokenizer, of which `TinyTriton` says a loss of 2."""
    command = (model_python(), _ROOT / "tests" / "integration" / "tiny_base.py", default_weights(print), folder)
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        begin = json.loads(file.read(length))[Q]["data_offsets"][0]
        file.seek(8 + length + begin)
        file.write(struct.pack("<f", _LOSS))
    assert tensors_of([path], header_bytes_max=2**20)[Q].read()[0, 0] == _LOSS


def trainer_settings(folder: Path) -> dict[str, str]:
    """Those under which a trainer begins from `base` in the folder, keeps its runs in `trainer`, and saves often."""
    return {
        "HEADRACE_TRAINER_BASE": str(folder / "base"),
        "HEADRACE_TRAINER_FOLDER": str(folder / "trainer"),
        "HEADRACE_TRAINER_THREADS": "1",
        "HEADRACE_TRAINER_TOKENS_MAX": "128",
        "HEADRACE_TRAINER_STEPS": "20",
        "HEADRACE_TRAINER_SAVE_EVERY_STEPS": "2",
    }
