"""Real input for the first run: answers by language models to competition problems (package champ-dataset, MIT).

Each conversation of the package ends with the model's own one-sentence summary of its answer. The system never sees that
sentence; the final table reads it to know which answers are right, so truth and check come from different text.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?")
_CHARS_MAX = 2_200  # about 650 tokens: two cores score some hundred tokens a second
_TURNS = 5  # system, question, worked answer, request for a summary, summary
_SMALL = 2  # references of this size turn up in any text, so a match would prove nothing


@dataclass(frozen=True, slots=True)
class DemoSample:
    """One conversation to submit and what is known about it outside the system."""

    line: dict[str, Any]
    problem: str
    author: str
    right: bool
    withheld: bool

    @property
    def id(self) -> str:
        return str(self.line["id"])


def demo_samples(count: int, seed: int) -> list[DemoSample]:
    """Up to `count` conversations in an order fixed by `seed`; for every second problem the reference is withheld.

    Problems are taken where the reference is a plain number that stands out: not in the question and larger than two.
    """
    samples = list(_all_samples())
    random.Random(seed).shuffle(samples)  # noqa: S311 - an order to show, not a secret
    return samples[:count]


def _all_samples() -> Iterator[DemoSample]:
    import champ_dataset  # noqa: PLC0415 - only the demo has it installed

    problems = champ_dataset.load("v0").problems
    telling = [(name, problem) for name, problem in sorted(problems.items()) if _reference_stands_out(problem)]
    for index, (name, problem) in enumerate(telling):
        for setting, conversation in sorted(problem.conversations.items()):
            turns = conversation.messages
            if len(turns) == _TURNS and turns[2].text and turns[4].text and _chars(turns[:3]) <= _CHARS_MAX:
                yield _sample(name, setting, problem, withheld=index % 2 == 1)


def _chars(turns: Sequence[Any]) -> int:
    return sum(len(turn.text) for turn in turns)


def _reference_stands_out(problem: Any) -> bool:
    answer = problem.answer.strip()
    if not _PLAIN_NUMBER.fullmatch(answer):
        return False
    value = Fraction(answer)
    return abs(value) > _SMALL and value not in _numbers(problem.text)


def _sample(name: str, setting: str, problem: Any, *, withheld: bool) -> DemoSample:
    system, question, answer, _, summary = problem.conversations[setting].messages
    line: dict[str, Any] = {
        "id": f"{name}.{hashlib.sha256(setting.encode()).hexdigest()[:8]}",
        "messages": [
            {"role": "system", "content": system.text},
            {"role": "user", "content": question.text},
            {"role": "assistant", "content": answer.text},
        ],
        "metadata": {"problem": name, "setting": setting},
    }
    if not withheld:
        line["reference"] = {"answer": problem.answer.strip(), "verifier": "math"}
    right = Fraction(problem.answer.strip()) in _numbers(summary.text)
    return DemoSample(line, name, setting.split("|", maxsplit=1)[0], right, withheld)


def _numbers(text: str) -> set[Fraction]:
    return {Fraction(found.replace(",", "")) for found in _NUMBER.findall(text) if not found.endswith("/0")}
