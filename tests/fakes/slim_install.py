"""An install with some extras only, as this environment has them all: what they bring, and the rest made impossible to import."""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OURS = ("headrace", "headrace_protos", "services")


@cache
def extras() -> dict[str, list[str]]:
    """The extras of the project and their requirements; "" is what everyone gets."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


@cache
def brought(*wanted: str) -> frozenset[str]:
    """The top-level modules that an install with these extras can import, beside Python's own and ours."""
    packages = {package for extra in ("", *wanted) for package in _closure(extra)}
    return frozenset(module for module, owners in _owners().items() if owners & packages)


def block_all_but(*wanted: str) -> None:
    """From now on this process is such an install."""
    sys.meta_path.insert(0, _Absent(brought(*wanted)))


def imports_of(start: str) -> dict[str, str]:
    """Modules of other packages that this module of ours may import, at once or later, by itself or by ours; and who does."""
    found: dict[str, str] = {}
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        file = _file_of(module)
        if file is None or module in seen:
            continue
        seen.add(module)
        waiting.append(module.rpartition(".")[0])
        for name in _imported(file):
            top = name.partition(".")[0]
            if top in OURS:
                waiting.append(name)
            elif top not in sys.stdlib_module_names:
                found.setdefault(top, module)
    return found


class _Absent:
    """Finds nothing that the extras did not bring."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = {*allowed, *OURS, "tests", *sys.stdlib_module_names}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        del path, target
        if name.partition(".")[0] in self._allowed or name.startswith("_"):
            return None
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@cache
def _owners() -> dict[str, set[str]]:
    return {module: {canonicalize_name(owner) for owner in owners} for module, owners in packages_distributions().items()}


@cache
def _closure(extra: str) -> frozenset[str]:
    """The packages of one extra of ours, by their canonical names."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in extras()[extra]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "headrace":
            found |= {package for other in requirement.extras for package in _closure(other)}
        elif (key := f"{name}[{','.join(sorted(requirement.extras))}]") not in found:
            found |= {name, key}
            waiting += _needs(requirement)
    return frozenset(found)


def _needs(requirement: Requirement) -> Iterator[Requirement]:
    try:
        texts = requires(requirement.name) or ()
    except PackageNotFoundError:  # one for another platform or Python
        return
    for needed in map(Requirement, texts):
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            yield needed


def _file_of(module: str) -> Path | None:
    place = (ROOT if module.startswith("services") else ROOT / "libs").joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _imported(file: Path) -> tuple[str, ...]:
    tree = ast.parse(file.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    names: list[str] = []
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)
