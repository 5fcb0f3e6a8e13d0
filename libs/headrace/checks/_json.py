"""JSON read strictly: what RFC 8259 leaves to chance is refused."""

import json
from collections import Counter
from math import isfinite
from typing import Any


class NotStrictJson(ValueError):
    """The text is not one JSON document, or one that readers disagree about."""


def read(text: str, *, depth_max: int) -> Any:
    """The one document that the text is.

    Raises:
        NotStrictJson: no JSON, something after it, NaN or Infinity or a number too large to hold, an object with the
            same key twice, or arrays and objects nested deeper than `depth_max`.
    """
    try:
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_distinct)
    except RecursionError as error:
        raise NotStrictJson(f"nested deeper than {depth_max}") from error
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"no JSON: {error}") from error
    except ValueError as error:  # an integer of thousands of digits, and what is raised below
        raise NotStrictJson(str(error)) from error
    if _depth(document) > depth_max:
        raise NotStrictJson(f"nested deeper than {depth_max}")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return found


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
    return depth


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()] or [None]
    return (value or [None]) if isinstance(value, list) else []
