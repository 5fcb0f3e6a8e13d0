"""What differs between two policies, key by key."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core.policies import Policy

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One key whose value differs, values as JSON; `ABSENT` where the key is not there."""

    path: str
    before: str
    after: str


def changes_between(before: Policy | None, after: Policy) -> tuple[PolicyChange, ...]:
    """Every key that differs, in order of the paths; checks are told apart by their names, not by their places."""
    old = dict(_leaves(before)) if before is not None else {}
    new = dict(_leaves(after))
    return tuple(
        PolicyChange(path, old.get(path, ABSENT), new.get(path, ABSENT))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def _leaves(policy: Policy) -> Iterator[tuple[str, str]]:
    sections = policy.model_dump(mode="json")
    checks = {request.pop("check"): request for request in sections.pop("checks")}
    yield from _flat(sections, "")
    yield from _flat(checks, "checks.")


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False, sort_keys=True)
