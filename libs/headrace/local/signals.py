"""Triton with our own model in it: `signals`, over the weights of SmolLM2-135M-Instruct."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from headrace.lm.repository import add_version
from headrace.local.cache import once
from headrace.local.checkout import checkout, model_python
from headrace.local.launch import Launch, Place, Say, run_tool
from headrace.local.triton import model_side, triton_launch

MODEL = "signals"
WEIGHTS = "smollm2-135m-instruct"
BASE = "HEADRACE_TRAINER_BASE"
"""Setting that names the folder of the weights that training begins from: here those that measure."""
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
        weights = default_weights(say)
        repository = place.folder / "models"
        add_version(repository, model=MODEL, version=1, weights=weights)
        environment = {
            "HEADRACE_LM_LIBS": str(checkout() / "libs"),
            "HEADRACE_LM_PACKAGES": str(model_side().packages),
        }
        launch = triton_launch(repository, (MODEL,), place, environment)
        told = {} if place.environment.get(BASE) else {BASE: str(weights)}  # whoever trains from others says so himself
        return replace(launch, tells={**launch.tells, **told})


def default_weights(say: Say) -> Path:
    """The folder of the default model's weights, converted once for all state folders.

    Raises:
        StackFailed: the model environment is missing, or the conversion failed.
    """
    return once(WEIGHTS, partial(_convert_weights, say=say))


def _convert_weights(folder: Path, say: Say) -> None:
    say("converting the weights of SmolLM2-135M-Instruct (once, about a minute)")
    command = (str(model_python()), "-m", "headrace.lm.prepare", "--out", str(folder))
    run_tool(command, timeout_s=_PREPARE_S, environment={"PYTHONPATH": str(checkout() / "libs")})
