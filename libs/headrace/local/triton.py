"""Triton Inference Server: the program inside the nvidia-pytriton wheel, with a model repository of our own."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.local.checkout import model_python
from headrace.local.launch import Launch, Place, StackFailed
from headrace.local.ports import LOCALHOST
from headrace.local.probes import http_answers

_FACTS = """
import json, sys, sysconfig
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2], "home": sys.base_prefix, "packages": sysconfig.get_path("purelib"),
    "library_folder": sysconfig.get_config_var("LIBDIR"), "library": "libpython%d.%d.so.1.0" % sys.version_info[:2],
    "multiarch": sysconfig.get_config_var("MULTIARCH"),
}))
"""


@dataclass(frozen=True, slots=True)
class ModelSide:
    """What has to be known of the model side's environment: its Python and where its parts are."""

    version: str
    home: Path
    packages: Path
    library: Path


def model_side() -> ModelSide:
    """Asks the model side's interpreter.

    Raises:
        StackFailed: the environment is missing, or its Python has no shared library for Triton to embed.
    """
    told = subprocess.run((str(model_python()), "-c", _FACTS), capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  # found by us
    facts = json.loads(told.stdout)
    home = Path(facts["home"])
    folders = (Path(facts["library_folder"]), home / "lib", home / "lib" / str(facts["multiarch"]))
    library = next((folder / facts["library"] for folder in folders if (folder / facts["library"]).exists()), None)
    if library is None:
        raise StackFailed(
            f"Triton embeds Python and needs {facts['library']}, which {home} does not have: install it (Debian and Ubuntu: "
            f"`apt install libpython{facts['version']}`), or name a Triton of your own in HEADRACE_SCORING_TRITON"
        )
    return ModelSide(facts["version"], home, Path(facts["packages"]), library)


def triton_launch(repository: Path, models: tuple[str, ...], place: Place, environment: dict[str, str]) -> Launch:
    """A server with these models of the repository loaded; others can be loaded and unloaded while it runs."""
    side = model_side()
    program = side.packages / "pytriton" / "tritonserver"
    backends, libraries = _arrange(side, program, place.folder)
    ports = place.ports
    prefix = f"headrace-{ports['grpc']}-"  # two servers of one machine must not share memory regions
    return Launch(
        command=(
            str(program / "bin" / "tritonserver"), f"--model-repository={repository}", f"--backend-directory={backends}",
            "--model-control-mode=explicit", *(f"--load-model={model}" for model in models),
            f"--http-address={LOCALHOST}", f"--http-port={ports['http']}",
            f"--grpc-address={LOCALHOST}", f"--grpc-port={ports['grpc']}",
            f"--metrics-address={LOCALHOST}", f"--metrics-port={ports['metrics']}",
            f"--backend-config=python,shm-region-prefix-name={prefix}", "--exit-timeout-secs=5",
        ),
        folder=place.folder,
        log=place.log,
        environment={
            "LD_LIBRARY_PATH": f"{side.packages / 'nvidia_pytriton.libs'}:{libraries}",
            # The stub embeds Python and would otherwise take its standard library from the first python3 on the PATH.
            "PYTHONHOME": str(side.home),
            **environment,
        },
        probe=partial(http_answers, f"http://{LOCALHOST}:{ports['http']}/v2/health/ready"),
        ready_s=300,  # two busy cores import torch and load the weights
        stop_s=10,
        tells={
            "HEADRACE_SCORING_TRITON": f"{LOCALHOST}:{ports['grpc']}",
            "HEADRACE_CONTROLLER_MODEL_REPOSITORY": str(repository),
        },
        litter=(f"/dev/shm/{prefix}*",),  # noqa: S108  # where the kernel keeps named shared memory
    )  # fmt: skip


def _arrange(side: ModelSide, program: Path, folder: Path) -> tuple[Path, Path]:
    """The backend folder with the stub of our Python in it, and a folder with that Python's library; links, made anew."""
    backends, libraries = folder / "backends", folder / "libraries"
    for made in (backends / "python", libraries):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
    stub = program / "python_backend_stubs" / side.version / "triton_python_backend_stub"
    if not stub.exists():
        raise StackFailed(f"nvidia-pytriton has no stub for Python {side.version}: make the model environment with Python 3.11")
    for source in (*(program / "backends" / "python").iterdir(), stub):
        (backends / "python" / source.name).symlink_to(source)
    (libraries / side.library.name).symlink_to(side.library)
    return backends, libraries
