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
    """Lines to submit, and which group of look-alikes each id belongs to (its own id where it has none).

    `good` holds the groups whose answer is right and long enough: of each, one member is to be accepted, and of others none.
    """

    lines: list[dict[str, Any]]
    group_of: dict[str, str]
    good: frozenset[str]


def workload(count: int, seed: int, *, edited: float = 0.0) -> Workload:
    """`count` submissions: mostly distinct, some copies under other ids, some sent twice, some wrong, some malformed in form.

    One in ten copies an earlier conversation under a new id, word for word but for the share `edited` of all lines, in which one
    word of the question is another; one in twenty is sent again as it was; one in ten has a reference that its answer does not
    meet; one in twenty breaks the length constraint of the policy.
    """
    rng = random.Random(seed)
    lines: list[dict[str, Any]] = []
    firsts: dict[str, dict[str, Any]] = {}
    group_of: dict[str, str] = {}
    good: set[str] = set()
    for number in range(count):
        kind = rng.random()
        earlier = rng.choice(lines) if lines else None
        if kind < 0.10 and earlier is not None:
            group = group_of[earlier["id"]]
            line = {**(reworded(rng, firsts[group]) if kind < edited else earlier), "id": f"s{number}"}
            group_of[line["id"]] = group
        elif kind < 0.15 and earlier is not None:
            line = earlier
        else:
            line = _distinct(rng, number, wrong=kind < 0.25, terse=0.25 <= kind < 0.30)
            group_of[line["id"]] = line["id"]
            firsts[line["id"]] = line
            if kind >= 0.30:
                good.add(line["id"])
        lines.append(line)
    return Workload(lines, group_of, frozenset(good))


def reworded(rng: random.Random, line: dict[str, Any]) -> dict[str, Any]:
    """The line with one word of its question replaced: of the first of its group, so that none strays far from another."""
    question, answer = line["messages"]
    words = question["content"].split(" ")
    place = rng.choice([n for n, word in enumerate(words) if word in _WORDS])
    words[place] = rng.choice([word for word in _WORDS if word != words[place]])
    return {**line, "messages": [{**question, "content": " ".join(words)}, answer]}


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
"""Copies are exact duplicates under it; any model may measure."""

NEAR_COSINE = 0.93
"""Under the stub's signals, edited copies lie above 0.95 to each other, and distinct conversations below 0.9."""
NEAR_POLICY = POLICY.replace("0.9999", str(NEAR_COSINE))
