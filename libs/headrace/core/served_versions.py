"""Which versions of a model its server loads: one line of the model's configuration, read and replaced. Pure."""

import re
from collections.abc import Iterable

NO_BYTECODE = "__pycache__"
"""An empty file of this name in a version's folder keeps Python from making a folder of it.

The server loads a version again whose folder has changed, at the next load of another one: the version in use, too.
"""

_LINE = re.compile(r"^version_policy\b.*\n?", re.MULTILINE)
_NUMBERS = re.compile(r"versions\s*:\s*\[([0-9,\s]*)\]")


def served_in(config: str) -> tuple[int, ...] | None:
    """The versions that a configuration names; None where it leaves the choice to the server (its newest one)."""
    line = _LINE.search(config)
    numbers = _NUMBERS.search(line[0]) if line else None
    if numbers is None:
        return None
    return tuple(int(number) for number in numbers[1].split(",") if number.strip())


def serving(config: str, versions: Iterable[int] | None) -> str:
    """The configuration with these versions named instead of those it had; None leaves the choice to the server."""
    rest = _LINE.sub("", config)
    if versions is None:
        return rest
    numbers = ", ".join(str(version) for version in sorted(set(versions)))
    return f"{rest.rstrip()}\nversion_policy: {{ specific: {{ versions: [ {numbers} ] }} }}\n"
