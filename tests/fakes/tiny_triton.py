"""A real Triton that serves `signals` with the code of `tiny_signals.py`: seconds to start, and no torch."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from headrace.local.launch import Launch, Place
from headrace.local.triton import model_side, triton_launch
from tests.fakes.model_repositories import model_repository

_ROOT = Path(__file__).resolve().parents[2]
_CODE = (_ROOT / "tests/fakes/tiny_signals.py").read_text()
_CONFIG = (_ROOT / "libs/headrace/lm/triton/signals/config.pbtxt").read_text()


@dataclass(frozen=True)
class TinyTriton:
    """The server, in the place of the stack's own; `weights` are the first version's, unset: those of the tiny model."""

    weights: Path | None = None
    name: str = "triton"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("http", "grpc", "metrics")

    def prepare(self, place: Place, _: object) -> Launch:
        repository = model_repository(place.folder / "models", loss=2.0, code=_CODE, config=_CONFIG)
        if self.weights is not None:
            folder = repository.weights("signals", 1)
            shutil.rmtree(folder)
            shutil.copytree(self.weights, folder)
        return triton_launch(repository.root, ("signals",), place, {"HEADRACE_LM_PACKAGES": str(model_side().packages)})
