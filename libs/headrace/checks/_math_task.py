"""Mathematical equality, inside a worker: math-verify and sympy on untrusted text."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from math_verify import parse, verify

from headrace.checks._math_mend import PLAIN_NUMBER

# math-verify warns once for each of its own time limits that is off. They are off because they rest on SIGALRM, which cannot
# interrupt C code and lets its exception be swallowed on the way; the process's own timer does neither.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_DELIMITERS = ("$", r"\(", r"\[", r"\boxed")
_MINUS_SIGNS = str.maketrans({"\u2212": "-", "\ufe63": "-", "\uff0d": "-"})
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox|operatorname)\s*\{[^{}]*\}")
_LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORDS = re.compile(r"[A-Za-z]{3,}|\b(?:or|and|no|is|of|to|in|at|if|pi|ln)\b", re.IGNORECASE)
_TWO_NUMBERS = re.compile(r"\d\s+\d+(?!\d*\s*/)")
_MARKED = re.compile(r"\\boxed|answer\s*(?:is|:|=)", re.IGNORECASE)
_NUMBER = r"(\$[^$]+\$|-?\d[\d,]*(?:\.\d+)?(?:/\d+)?)(?![\w.^])"
_COUNTED = re.compile(rf"\bthere (?:are|is|exist|will be)\s+(?:exactly |only |precisely |a total of )?{_NUMBER}", re.IGNORECASE)
_SHOWN_CHARS = 200


def warm() -> None:
    """Have math-verify compile its expressions and sympy fill its caches."""
    work({"reference": r"\frac{1}{2}", "response": "so $x = 0.5$, or 1/2", "float_digits": 6})


def work(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Compare the final answer of `response` with `reference`; the reply has an `outcome` and `evidence`."""
    reference = str(request["reference"]).translate(_MINUS_SIGNS).strip()
    reason = _unreadable(reference)
    gold = [] if reason else _parsed(_delimited(reference))
    if not _has_expression(gold):
        why = reason or "math-verify finds no expression in it"
        return {"outcome": "not_made", "evidence": f"the reference answer {_cut(reference)!r} cannot be read: {why}"}
    answer = _parsed(_conclusion(str(request["response"]).translate(_MINUS_SIGNS)))
    if not answer:
        return {"outcome": "failed", "evidence": f"no final answer found in the response; the reference is {_cut(reference)!r}"}
    # The order matters: verify(gold, answer) is not verify(answer, gold).
    equal = verify(gold, answer, float_rounding=int(request["float_digits"]), timeout_seconds=None)
    relation = "equals" if equal else "does not equal"
    evidence = f"the final answer {_shown(answer)!r} {relation} the reference {_cut(reference)!r}"
    return {"outcome": "passed" if equal else "failed", "evidence": evidence}


def _parsed(text: str) -> list[Any]:
    found: list[Any] = parse(text, parsing_timeout=None)
    return found


def _conclusion(response: str) -> str:
    """What is counted in "so there are 76 ways to split {1, 2, 3}": math-verify would read the last number, 3.

    Only where nothing marks the answer, and only in the last line; else the whole response.
    """
    if _MARKED.search(response):
        return response
    counted = _COUNTED.findall(response.rstrip().rpartition("\n")[2])
    return counted[-1] if counted else response


def _delimited(reference: str) -> str:
    r"""Math-verify reads LaTeX only between delimiters; without them it picks single numbers: '2 \sqrt{3}' would be 2."""
    if any(delimiter in reference.replace(r"\$", "") for delimiter in _DELIMITERS):
        return reference
    if PLAIN_NUMBER.fullmatch(reference):  # read alike without them, in a third of the time
        return reference
    return f"${reference.replace('**', '^')}$"  # after '**' it stops reading: '2**3' would be 2


def _unreadable(reference: str) -> str:
    """Why a reference without delimiters is not the expression that math-verify would make of it, or ''.

    Read as LaTeX, a word is a product of its letters and '1 234' is the sum of two numbers: the wrong reference, silently.
    """
    if any(delimiter in reference for delimiter in _DELIMITERS):
        return ""
    words = _WORDS.search(_LATEX_COMMAND.sub(" ", _LATEX_TEXT.sub(" ", reference)))
    if words:
        return f"it has words ({words.group()!r}); write the expression as LaTeX between $ signs"
    if _TWO_NUMBERS.search(reference):
        return "it has two numbers side by side; write it as LaTeX between $ signs"
    return ""


def _has_expression(found: list[Any]) -> bool:
    return any(not isinstance(part, str) for part in found)


def _shown(found: list[Any]) -> str:
    # The last element is the text that was read. Writing the expression out could run away where comparing it did not.
    return _cut(str(found[-1])) if isinstance(found[-1], str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
