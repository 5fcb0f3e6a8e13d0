"""What is wrong with a policy, in words that name the key, the value and what would be allowed."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]

_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One thing wrong with a policy: where (`("checks", 0, "regex")`, empty for the whole) and what.

    `line` counts from 1 in the file that was read; None where the policy did not come from a file.
    """

    location: Location
    message: str
    line: int | None = None

    @property
    def path(self) -> str:
        """The location as people write it: `checks[0].regex`."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.location)
        return text.removeprefix(".")

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}{self.path}: {self.message}" if self.location else f"{place}{self.message}"


class InvalidPolicy(ValueError):
    """A policy that cannot be followed, with every problem found, not only the first."""

    def __init__(self, problems: Sequence[PolicyProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def problems_of(error: ValidationError, model: type[BaseModel], prefix: Location = ()) -> tuple[PolicyProblem, ...]:
    """What a failed validation of `model` means to the author of the file; `prefix` is where the model lies in the policy."""
    return tuple(
        PolicyProblem((*prefix, *found["loc"]), _message(found["type"], found["msg"], found.get("input"), found["loc"], model))
        for found in error.errors(include_url=False)
    )


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Says that a name is unknown, which known one is near to it, and which there are."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {kind} {shown(name)}; {guess}Known: {', '.join(known)}"


def shown(value: object) -> str:
    """A value as an error shows it: short, and harmless on a terminal."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def _message(kind: str, message: str, value: object, location: Location, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return unknown("key", str(location[-1]), _keys_at(model, location[:-1]))
    if kind == "missing":
        return "is required"
    if kind == "value_error":  # raised by our own validators, which name the value themselves
        return message.removeprefix("Value error, ")
    said = message.removeprefix("Input ").replace("valid tuple", "list").replace("valid dictionary", "mapping")
    said = said.split(" or instance of ", maxsplit=1)[0]
    return f"{said}, not {shown(value)}"


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    for part in location:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)
