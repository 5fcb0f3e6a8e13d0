"""Rewrites on their way, and what models say of them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from headrace.core.chat import JUDGE, REFINER, Call
from headrace.core.dossiers import CURRENT, JUDGED, Dossier, Judgement, Placement, Rewrite, Signals
from headrace.core.events import Event, Position
from headrace.core.rounds.surveys import RefinementRequested
from headrace.core.samples import Message, Reference, Sample, content_hash_of
from tests.fakes.evidence import DATASET, dossier, placement

QUESTION = "If a train goes 60 miles in one hour and a half, how many miles does it go in an hour on average?"
RESPONSE = "It covers 60 miles in 1.5 hours, so in one hour it goes 60 / 1.5 = 40 miles."
NEW_QUESTION = "A train goes 60 miles in 1.5 hours. Divide the miles by the hours: how many miles does it go in one hour?"
NEW_RESPONSE = "Divide the miles by the hours: 60 / 1.5 = 40. The train goes 40 miles in one hour."
MODEL, VERSION = "model", "1"


def parent(revision: int = 0, messages: tuple[Message, ...] = (), **changes: Any) -> Sample:
    """A question with its answer, after a system turn."""
    said = messages or (
        Message("system", "You are a patient teacher."),
        Message("user", QUESTION),
        Message("assistant", RESPONSE),
    )
    reference = Reference("40", "math")
    sample = Sample(DATASET, "train", revision, "", said, reference=reference, metadata_json='{"level": 3}')
    return replace(sample, content_hash=content_hash_of(said, "", reference), **changes)


def rewrite(axis: str = "hard", **changes: Any) -> Rewrite:
    """The first attempt of the first round, with all the parent's numbers."""
    first = Rewrite(
        round_id="round-1",
        round_ordinal=1,
        axis=axis,
        attempt=1,
        attempts_max=2,
        parent=parent(),
        bound=3.5,
        model=MODEL,
        model_version=VERSION,
        parent_embedding=np.array([1, 0], "<f4").tobytes(),
        parent_loss=4.0,
        parent_density=0.6,
        parent_quality=4.0,
        hints=("How far does a bus go in two hours at 30 miles an hour?",) if axis == "sparse" else (),
    )
    return replace(first, **changes)


def requested(asked: Rewrite, offset: int = 0, time: float = 1_000.0) -> Event[RefinementRequested]:
    """As refinement is given it."""
    position = Position("topic", 3, offset)
    return Event(f"event-{offset}", "topic", asked.parent.key, RefinementRequested(asked), time, position)


def judged(quality: float | None) -> Judgement:
    """Six equal scores."""
    return Judgement("logits", "ruler", quality, quality, quality, quality, quality, quality)


def evidence(
    asked: Rewrite, loss: float | None = 3.0, quality: float | None = 6.0, cosine: float | None = 0.9, **changes: Any
) -> Dossier:
    """A measured and placed rewrite; better than its parent on every axis, unless numbers are given."""
    measured = Signals(CURRENT, MODEL, VERSION, loss, 0.1, 10, 5, judgement=judged(quality) if quality is not None else None)
    placed: Placement = replace(placement(), parent_cosine=cosine)
    return replace(dossier(scored=measured, placed=placed), rewrite=asked, **changes)


def scores(quality: float) -> str:
    """What a judge writes: six equal scores."""
    return json.dumps(dict.fromkeys(JUDGED, quality))


def writes(prompt: str = NEW_QUESTION, answer: str = NEW_RESPONSE, *, quality: float = 7.0, parent_quality: float = 5.5) -> Any:
    """A model that does what it is asked, and judges the rewrite and its parent so."""

    def says(call: Call) -> str:
        if call.role == JUDGE:
            return scores(quality if prompt in call.messages[-1].content else parent_quality)
        return f"It is long.\n<new_prompt>\n{prompt}\n</new_prompt>" if call.role == REFINER else answer

    return says
