"""Comparison of long texts word for word, inside a worker."""

from collections.abc import Mapping
from typing import Any

from headrace.checks._contract import readable
from headrace.checks.exact import compared


def warm() -> None:
    """Nothing is compiled or cached later than at the import."""


def work(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Compare `response` with `reference`; the reply has an `outcome` and `evidence`."""
    finding = compared(request["reference"], request["response"], ignore_case=request["ignore_case"])
    return {"outcome": finding.outcome.value, "evidence": readable(finding.evidence)}
