"""The folder that the model server reads: versions of models, and which of them are served.

`<root>/<model>/config.pbtxt` and `<model>/<version>/{model.py, weights/}`. A version's folder appears whole or not at all, and
is never changed afterwards: the server would load it again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.core.served_versions import NO_BYTECODE, served_in, serving

WEIGHTS = "weights"
_CONFIG = "config.pbtxt"
_ORIGIN = "checkpoint"
_FETCHED = ".fetched"
_ATTEMPTS = ".loads"
"""How often versions were about to be loaded: outside their folders."""


class NoSuchModel(LookupError):
    """The repository does not have this model."""


@dataclass(frozen=True, slots=True)
class ModelRepository:
    """A model repository on a file system that the model server reads too."""

    root: Path

    def require(self, model: str) -> None:
        """Raises NoSuchModel where the repository does not have the model."""
        if not (self.root / model / _CONFIG).is_file():
            raise NoSuchModel(f"{self.root} (HEADRACE_CONTROLLER_MODEL_REPOSITORY) has no model {model}")

    def versions(self, model: str) -> tuple[int, ...]:
        """The versions that lie there, ascending."""
        folders = (self.root / model).iterdir()
        return tuple(sorted(int(folder.name) for folder in folders if folder.name.isdecimal() and folder.is_dir()))

    def weights(self, model: str, version: int) -> Path:
        """Where a version's weights lie, whether they do or not."""
        return self.root / model / str(version) / WEIGHTS

    def holds(self, model: str, version: int, checkpoint_id: str) -> bool:
        """Whether the version lies there, made of this checkpoint."""
        origin = self.root / model / str(version) / _ORIGIN
        return origin.is_file() and origin.read_text() == checkpoint_id

    def fetched(self, checkpoint_id: str) -> Path:
        """Where a checkpoint is fetched to: on the same file system, so that its files need not be copied."""
        return self.root / _FETCHED / checkpoint_id

    def size_bytes(self, model: str, version: int) -> int:
        """Bytes of the version's weights."""
        return sum(file.stat().st_size for file in self.weights(model, version).glob("*.safetensors"))

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A folder for a version in the making, gone at the end."""
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def install(self, model: str, version: int, weights: Path, *, checkpoint_id: str, like: int) -> None:
        """Makes a version of these weights, which are moved there; it measures with the code of the version `like`.

        Replaces what an earlier attempt left.
        """
        entry = self.root / model
        with self.unfinished() as folder:
            shutil.copyfile(entry / str(like) / "model.py", folder / "model.py")
            (folder / NO_BYTECODE).touch()
            os.replace(weights, folder / WEIGHTS)  # noqa: PTH105 - a folder
            (folder / _ORIGIN).write_text(checkpoint_id)
            for path in (folder, *folder.rglob("*")):  # the server may run under another name
                path.chmod(0o755 if path.is_dir() else 0o644)
            shutil.rmtree(entry / str(version), ignore_errors=True)
            os.replace(folder, entry / str(version))  # noqa: PTH105 - at once

    def served(self, model: str) -> tuple[int, ...] | None:
        """The versions that the server is to load; None where the choice is its own."""
        return served_in((self.root / model / _CONFIG).read_text())

    def serve(self, model: str, versions: Iterable[int]) -> None:
        """Names the versions that the server is to load, at the next time it is told to."""
        config = self.root / model / _CONFIG
        text = config.read_text()
        wanted = serving(text, versions)
        if wanted != text:
            unfinished = config.with_suffix(".unfinished")
            unfinished.write_text(wanted)
            os.replace(unfinished, config)  # noqa: PTH105 - at once

    def count_load(self, model: str, version: int) -> int:
        """Counts an attempt to load the version, in spite of kills; returns how many there were with this one."""
        counter = self.root / _ATTEMPTS / model / str(version)
        counter.parent.mkdir(parents=True, exist_ok=True)
        attempts = (int(counter.read_text() or 0) if counter.exists() else 0) + 1
        counter.write_text(str(attempts))
        return attempts

    def forget_loads(self, model: str, version: int) -> None:
        """Counts from the beginning again."""
        (self.root / _ATTEMPTS / model / str(version)).unlink(missing_ok=True)

    def remove(self, model: str, versions: Iterable[int]) -> None:
        """Removes versions from the disk; raises ValueError for one that is served."""
        served = self.served(model) or ()
        for version in versions:
            if version in served:
                raise ValueError(f"version {version} of {model} is served")
            shutil.rmtree(self.root / model / str(version), ignore_errors=True)
            self.forget_loads(model, version)

    def clear(self) -> None:
        """Removes what killed attempts left; only for one who knows that nobody else makes a version now."""
        for left in (*self.root.glob(".unfinished-*"), self.root / _FETCHED):
            shutil.rmtree(left, ignore_errors=True)
