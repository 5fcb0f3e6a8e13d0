"""Samples whose ends are known beforehand, but for which member stands for a group of near-duplicates."""

import random
from dataclasses import dataclass
from typing import Any

_WORDS = [
    first + last
    for first in ("mill", "wheel", "stone", "weir", "race", "lock", "gate")
    for last in ("pond", "head", "tail", "side")
]


@dataclass(frozen=True, slots=True)
class Workload:
    """Lines to submit, and which group of look-alikes each id belongs to (its own id where it has none)."""

    lines: list[dict[str, Any]]
    group_of: dict[str, str]


def workload(count: int, seed: int) -> Workload:
    """`count` submissions: mostly distinct, some copies under other ids, some sent twice, some wrong, some malformed in form.

    One in ten copies an earlier conversation word for word under a new id; one in twenty is sent again as it was; one in
    ten has a reference that its answer does not meet; one in twenty breaks the length constraint of the policy.
    """
    rng = random.Random(seed)
    lines: list[dict[str, Any]] = []
    group_of: dict[str, str] = {}
    for number in range(count):
        kind = rng.random()
        earlier = rng.choice(lines) if lines else None
        if kind < 0.10 and earlier is not None:
            line = {**earlier, "id": f"s{number}"}
            group_of[line["id"]] = group_of[earlier["id"]]
        elif kind < 0.15 and earlier is not None:
            line = earlier
        else:
            line = _distinct(rng, number, wrong=kind < 0.25, terse=0.25 <= kind < 0.30)
            group_of[line["id"]] = line["id"]
        lines.append(line)
    return Workload(lines, group_of)


def _distinct(rng: random.Random, number: int, *, wrong: bool, terse: bool) -> dict[str, Any]:
    a, b = rng.randrange(1000), rng.randrange(1000)
    question = f"Case {number}: " + " ".join(rng.choices(_WORDS, k=20)) + f". What is {a} + {b}?"
    answer = str(a + b + (1 if wrong else 0))
    story = "" if terse else " ".join(rng.choices(_WORDS, k=30)) + ". "
    return {
        "id": f"s{number}",
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": f"{story}The answer is {answer}."}],
        "reference": {"answer": str(a + b), "verifier": "math"},
    }


POLICY = """\
description: the fault suite's policy
diversity:
  near_duplicate_cosine: 0.9999
checks:
  - check: math
  - check: constraints
    characters_min: 40
"""
