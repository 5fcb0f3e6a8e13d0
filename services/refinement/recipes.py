"""The prompts by which samples are rewritten and rewrites judged: versioned files, read once."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from headrace.core.rounds.rewriting import Recipe, Recipes, Style
from headrace.core.rounds.rules import Axis

_FOLDER = Path(__file__).parent / "prompts"
_REFINING: Mapping[Style, Mapping[Axis, str]] = MappingProxyType(
    {
        Style.MARKED: {Axis.HARD: "hard.v1", Axis.SPARSE: "sparse.v1", Axis.LOW_QUALITY: "low_quality.v1"},
        Style.PLAIN: {Axis.HARD: "hard.plain.v1", Axis.SPARSE: "sparse.plain.v1", Axis.LOW_QUALITY: "low_quality.plain.v1"},
    }
)
_ANSWERING = "answer.v1"
_JUDGING = "judge.v1"
_EXAMPLE = re.compile(r"^## (asked|written)$", re.MULTILINE)


def read_recipes(style: Style) -> Recipes:
    """The prompts of this release.

    Raises:
        OSError: a file is missing.
        ValueError: one has an example without what is written.
    """
    return Recipes({axis: _read(name) for axis, name in _REFINING[style].items()}, _read(_ANSWERING), style)


def read_judging() -> Recipe:
    """What the judge of rewrites is told.

    Raises:
        OSError: the file is missing.
    """
    return _read(_JUDGING)


def _read(name: str) -> Recipe:
    """The text, then examples: what is asked under `## asked`, what is written under `## written`, in turn."""
    text, *parts = _EXAMPLE.split((_FOLDER / f"{name}.md").read_text("utf-8"))
    titles, bodies = parts[::2], [part.strip() for part in parts[1::2]]
    if titles != ["asked", "written"] * (len(titles) // 2):
        raise ValueError(f"{name}.md: examples are `## asked` and `## written` in turn")
    return Recipe(name, text.strip(), tuple(zip(bodies[::2], bodies[1::2], strict=True)))
