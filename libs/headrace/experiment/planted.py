"""A data set with known damage: each kind strikes an equal share of the rows, and the rest stays as it was."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from headrace.core.samples import Message, Reference, Sample, content_hash_of, response_text
from headrace.experiment.damage import Damage, garbled, lightly_edited, truncated
from headrace.experiment.small_talk import small_talk

PROBLEM = "problem"
"""Attribute of a sample: samples of one problem ask the same thing, in other words or with other hints."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the data set, what was done to it (None: nothing), and whose text was taken for that, if another's."""

    sample: Sample
    damage: Damage | None = None
    taken_from: str = ""


def planted(clean: Sequence[Sample], *, share: float, seed: int) -> list[Row]:
    """The rows in their order, `share` (0 to 0.2) of them, rounded and at least one, damaged in each of the five ways.

    Who is struck, and how, follows from the seed. No row is struck twice. Near copies are of rows that stay clean.

    Raises:
        ValueError: there are too few rows, all are of one problem, or a row has no text that could be damaged.
    """
    each = max(1, round(share * len(clean)))
    if len(clean) <= each * len(Damage):
        raise ValueError(f"{len(clean)} rows are too few to damage {each} of them in each of {len(Damage)} ways")
    chance = random.Random(f"planted {seed}")  # noqa: S311 - repeatable, not secret
    order = list(range(len(clean)))
    chance.shuffle(order)
    struck = {place: kind for number, kind in enumerate(Damage) for place in order[number * each : (number + 1) * each]}
    copied = iter([clean[place] for place in order[len(Damage) * each :]] * each)
    return [
        _struck(sample, struck[place], clean, copied, chance) if place in struck else Row(sample)
        for place, sample in enumerate(clean)
    ]


def _struck(sample: Sample, kind: Damage, clean: Sequence[Sample], copied: Iterator[Sample], chance: random.Random) -> Row:
    if kind is Damage.SHUFFLED_ANSWER:
        others = [each for each in clean if each.attributes[PROBLEM] != sample.attributes[PROBLEM]]
        if not others:
            raise ValueError("all rows are of one problem: there is no other answer to take")
        other = chance.choice(others)
        return Row(_rewritten(sample, _question(sample), response_text(other), sample.reference), kind, other.id)
    if kind is Damage.NEAR_COPY:
        other = next(copied)
        texts = lightly_edited(_question(other), chance), lightly_edited(response_text(other), chance)
        return Row(replace(_rewritten(other, *texts, other.reference), id=sample.id), kind, other.id)
    if kind is Damage.OFF_TOPIC:
        return Row(_rewritten(sample, *small_talk(chance), None), kind)
    if kind is Damage.TRUNCATED_ANSWER:
        shortened = truncated(response_text(sample), chance)
        return Row(_rewritten(sample, _question(sample), shortened, sample.reference), kind)
    return Row(_rewritten(sample, garbled(_question(sample), chance), response_text(sample), sample.reference), kind)


def _question(sample: Sample) -> str:
    return sample.messages[-2].content


def _rewritten(sample: Sample, question: str, answer: str, reference: Reference | None) -> Sample:
    """The sample with another question and answer; what comes before them stays, and tells nothing about the damage."""
    messages = (*sample.messages[:-2], Message("user", question), Message("assistant", answer))
    return replace(
        sample, messages=messages, reference=reference, content_hash=content_hash_of(messages, sample.tools_json, reference)
    )
