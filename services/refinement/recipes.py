"""The prompts by which samples are rewritten: versioned files, read once."""

from pathlib import Path

from headrace.core.rounds.rewriting import Recipe, Recipes
from headrace.core.rounds.rules import Axis

_FOLDER = Path(__file__).parent / "prompts"
_REFINING = {Axis.HARD: "hard.v1", Axis.SPARSE: "sparse.v1", Axis.LOW_QUALITY: "low_quality.v1"}
_ANSWERING = "answer.v1"


def read_recipes() -> Recipes:
    """The prompts of this release.

    Raises:
        OSError: a file is missing.
    """
    return Recipes({axis: _read(name) for axis, name in _REFINING.items()}, _read(_ANSWERING))


def _read(name: str) -> Recipe:
    return Recipe(name, (_FOLDER / f"{name}.md").read_text("utf-8").strip())
