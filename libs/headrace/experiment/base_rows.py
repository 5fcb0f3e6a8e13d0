"""The rows that everything begins with: right answers to competition problems, and other problems held out."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from headrace.core.fine_tuning import is_held_out
from headrace.core.samples import Message, Reference, Sample, content_hash_of
from headrace.demo.champ import DemoSample, demo_samples
from headrace.experiment.planted import PROBLEM

_DATASET = "experiment"
_HELD_OUT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class BaseRows:
    """Rows to damage and to train on, and rows of other problems that nobody trains on."""

    clean: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


def base_rows(*, rows: int, held_out: int, chars_max: int, seed: int) -> BaseRows:
    """Conversations that end with the right answer, of at most `chars_max` characters.

    A quarter of the problems is held out before anything else, by a hash of the problem: prompts of one problem differ in their
    hints alone, so a draw by prompts would leave the same question on both sides. Rows are taken from the problems in turns.

    Raises:
        ValueError: there are not so many.
    """
    every = [each for each in demo_samples(sys.maxsize, seed) if each.right and _chars(each) <= chars_max]
    apart = {each.problem for each in every if is_held_out(each.problem, _HELD_OUT_SHARE, str(seed))}
    clean = _in_turns(each for each in every if each.problem not in apart)
    kept = _in_turns(each for each in every if each.problem in apart)
    for name, wanted, there in (("rows", rows, clean), ("held-out rows", held_out, kept)):
        if len(there) < wanted:
            raise ValueError(f"of at most {chars_max} characters there are {len(there)} {name}, not {wanted}: raise --chars-max")
    return BaseRows(tuple(map(_sample, clean[:rows])), tuple(map(_sample, kept[:held_out])))


def _chars(each: DemoSample) -> int:
    return sum(len(turn["content"]) for turn in each.line["messages"])


def _in_turns(samples: Iterable[DemoSample]) -> Sequence[DemoSample]:
    """One row of each problem, then a second of each, and so on."""
    by_problem: dict[str, list[DemoSample]] = {}
    for each in samples:
        by_problem.setdefault(each.problem, []).append(each)
    return [each for each in chain.from_iterable(zip_longest(*by_problem.values())) if each is not None]


def _sample(each: DemoSample) -> Sample:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in each.line["messages"])
    given = each.line.get("reference")
    reference = Reference(given["answer"], given["verifier"]) if given else None
    return Sample(
        _DATASET,
        each.id,
        revision=0,
        content_hash=content_hash_of(messages, "", reference),
        messages=messages,
        reference=reference,
        attributes={PROBLEM: each.problem},
    )
