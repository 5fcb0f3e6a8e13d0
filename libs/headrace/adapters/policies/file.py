"""Policy files: one YAML document, read so that a mistake is found, named and placed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from headrace.core.policies import Policy
from headrace.core.policy_contradictions import contradictions
from headrace.core.policy_problems import InvalidPolicy, Location, PolicyProblem, problems_of

FILE_BYTES_MAX = 256 * 1024
"""No policy needs more; a larger file is not one."""


def read_policy(path: Path, validate: Callable[[Policy], None]) -> Policy:
    """The policy in a file; see `parse_policy`.

    Raises:
        InvalidPolicy: with every problem found and its line.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return parse_policy(file.read(FILE_BYTES_MAX + 1), validate)


def parse_policy(source: bytes, validate: Callable[[Policy], None]) -> Policy:
    """The policy in a file's bytes; `validate` (`headrace.checks.validate`) looks at the settings of its checks.

    Raises:
        InvalidPolicy: with every problem found and its line.
    """
    root = _root(source)
    _refuse_duplicates(root)
    document = _document(root)
    try:
        policy = Policy.model_validate(document)
        validate(policy)
    except ValidationError as error:
        raise _placed((*problems_of(error, Policy), *_problems_of_checks(document, validate)), root) from error
    except InvalidPolicy as error:
        raise _placed((*error.problems, *contradictions(policy)), root) from error
    if problems := contradictions(policy):
        raise _placed(problems, root)
    return policy


def _problems_of_checks(document: Any, validate: Callable[[Policy], None]) -> tuple[PolicyProblem, ...]:
    """What is wrong with the checks' own settings where something else is wrong with the policy, so that all is told at once."""
    if not isinstance(document, dict):
        return ()
    try:
        validate(Policy.model_validate({"checks": document.get("checks", ())}))
    except InvalidPolicy as error:
        return error.problems
    except ValidationError:  # the list itself is wrong, which has been told
        pass
    return ()


class _Loader(yaml.SafeLoader):
    """YAML's safe subset without what a policy has no use for: aliases, which can blow a small file up, and dates."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call] # PyYAML's stubs say nothing of it
            raise InvalidPolicy([PolicyProblem((), "aliases (*name) are not allowed: write the value out", line)])
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _root(source: bytes) -> yaml.Node:
    if len(source) > FILE_BYTES_MAX:
        raise _whole(f"a policy file has at most {FILE_BYTES_MAX} bytes")
    try:
        root = _Loader(source.decode("utf-8")).get_single_node()
    except UnicodeDecodeError as error:
        raise _whole(f"not UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise _not_yaml(error) from error
    except RecursionError as error:
        raise _whole("nested too deeply") from error
    if root is None:
        raise _whole("the file is empty")
    return root


def _document(root: yaml.Node) -> Any:
    try:
        return _Loader("").construct_document(root)
    except yaml.YAMLError as error:
        raise _not_yaml(error) from error
    except (ValueError, OverflowError) as error:  # an integer of thousands of digits
        raise _whole(f"not YAML: {error}") from error


def _refuse_duplicates(root: yaml.Node) -> None:
    """YAML lets the last of two equal keys win in silence."""
    problems = []
    first_lines: dict[Location, int] = {}
    for location, line in _keys(root, ()):
        if location in first_lines:
            problems.append(PolicyProblem(location, f"is there twice, first on line {first_lines[location]}", line))
        first_lines.setdefault(location, line)
    if problems:
        raise InvalidPolicy(problems)


def _keys(node: yaml.Node, location: Location) -> Iterator[tuple[Location, int]]:
    """Every key and item below a node with its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*location, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _keys(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*location, index), item.start_mark.line + 1
            yield from _keys(item, (*location, index))


def _placed(problems: tuple[PolicyProblem, ...], root: yaml.Node) -> InvalidPolicy:
    """The problems, each with the line of its key or, for a missing one, of the nearest key above."""
    lines = dict(_keys(root, ()))

    def line_of(location: Location) -> int | None:
        while location and location not in lines:
            location = location[:-1]
        return lines.get(location)

    return InvalidPolicy([PolicyProblem(p.location, p.message, line_of(p.location)) for p in problems])


def _whole(message: str) -> InvalidPolicy:
    return InvalidPolicy([PolicyProblem((), message)])


def _not_yaml(error: yaml.YAMLError) -> InvalidPolicy:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error).partition("\n")[0]
    if said.startswith("but found"):
        said = f"{getattr(error, 'context', '')}, {said}"
    return InvalidPolicy([PolicyProblem((), f"not YAML: {said}", mark.line + 1 if mark is not None else None)])
