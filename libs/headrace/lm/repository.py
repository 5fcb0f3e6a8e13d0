"""Entries of a Triton model repository: `<repository>/<model>/config.pbtxt`, `<model>/<version>/{model.py, weights}`.

A version is a set of weights: the folder's number is the model version that every signal is recorded with.
The server that reads the repository needs two variables in its environment: HEADRACE_LM_LIBS (the folder that holds the
package `headrace`) and HEADRACE_LM_PACKAGES (where torch and transformers are installed).
"""

import os
import shutil
import tempfile
from pathlib import Path

from headrace.core.served_versions import NO_BYTECODE, served_in, serving

_MODEL = Path(__file__).parent / "triton" / "signals"


def add_version(repository: Path, *, model: str, version: int, weights: Path) -> Path:
    """Makes version `version` of `model` measure with these weights and returns its folder; replaces what was there.

    The folder appears whole or not at all. A running server takes it up when it is told to load the model; where the
    configuration names the versions that are served (a roll-out wrote it), only if this is one of them.

    Raises:
        FileNotFoundError: there are no weights in that folder.
        ValueError: versions count from 1.
    """
    if version < 1:
        raise ValueError(f"version {version}: Triton's versions count from 1")
    if not (weights / "config.json").is_file():
        command = f"PYTHONPATH=libs .venv-model/bin/python -m headrace.lm.prepare --out {weights}"
        raise FileNotFoundError(f"{weights} holds no weights: make them with `{command}`")
    entry = repository / model
    entry.mkdir(parents=True, exist_ok=True)
    _configure(entry / "config.pbtxt")
    folder = entry / str(version)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=repository))
    try:
        shutil.copyfile(_MODEL / "1" / "model.py", unfinished / "model.py")
        (unfinished / NO_BYTECODE).touch()
        (unfinished / "weights").symlink_to(weights.absolute(), target_is_directory=True)
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)  # noqa: PTH105 - at once
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _configure(config: Path) -> None:
    """Writes the model's configuration at once; which versions are served stays as it was."""
    served = served_in(config.read_text()) if config.exists() else None
    unfinished = config.with_suffix(".unfinished")
    unfinished.write_text(serving((_MODEL / "config.pbtxt").read_text(), served))
    os.replace(unfinished, config)  # noqa: PTH105 - at once
