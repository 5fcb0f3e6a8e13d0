"""The form of long texts, and costly patterns, inside a worker."""

from collections.abc import Mapping
from typing import Any

from headrace.checks._contract import readable
from headrace.checks.constraints import Settings, violations


def warm() -> None:
    """Have RE2 imported."""
    work({"response": "a", "settings": Settings(must_match=("a",)).model_dump_json()})


def work(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `response` violates of `settings`, which are JSON; the reply names it as `violated`, '' where there is nothing."""
    settings = Settings.model_validate_json(request["settings"])
    return {"violated": readable("; ".join(violations(request["response"], settings)))}
