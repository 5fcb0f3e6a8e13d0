"""Triton with our own model in it: `signals`, over the weights of SmolLM2-135M-Instruct."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.local.cache import once
from headrace.local.checkout import checkout, model_python
from headrace.local.launch import Launch, Place, Say, run_tool
from headrace.local.triton import model_side, triton_launch

MODEL = "signals"
WEIGHTS = "smollm2-135m-instruct"
_PREPARE_S = 900
"""Longest time for the conversion of the weights: 100 s on two idle cores."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The model server that scoring asks."""

    name: str = "triton"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("http", "grpc", "metrics")

    def prepare(self, place: Place, say: Say) -> Launch:
        """The weights, converted once for all state folders, and the server that loads them."""
        weights = once(WEIGHTS, partial(_convert_weights, say=say))
        repository = place.folder / "models"
        _lay_out(repository / MODEL, weights)
        environment = {
            "HEADRACE_LM_LIBS": str(checkout() / "libs"),
            "HEADRACE_LM_PACKAGES": str(model_side().packages),
        }
        return triton_launch(repository, (MODEL,), place, environment)


def _lay_out(entry: Path, weights: Path) -> None:
    """The model's entry in the repository, its first version holding these weights; other versions stay as they are."""
    source = checkout() / "libs" / "headrace" / "lm" / "triton" / "signals"
    version = entry / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "config.pbtxt", entry / "config.pbtxt")
    shutil.copyfile(source / "1" / "model.py", version / "model.py")
    (version / "weights").unlink(missing_ok=True)
    (version / "weights").symlink_to(weights, target_is_directory=True)


def _convert_weights(folder: Path, say: Say) -> None:
    say("converting the weights of SmolLM2-135M-Instruct (once, about a minute)")
    command = (str(model_python()), "-m", "headrace.lm.prepare", "--out", str(folder))
    run_tool(command, timeout_s=_PREPARE_S, environment={"PYTHONPATH": str(checkout() / "libs")})
