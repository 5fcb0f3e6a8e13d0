"""Dead letters speak to rounds, and are told until they are known."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from headrace.adapters.rounds.dead_letters import SOURCES, Letter, letter_in, said_by
from headrace.adapters.wire.events import encode
from headrace.core.dossiers import DatasetCutRequested, ScoredSample
from headrace.core.events import Stop
from headrace.core.rounds.facts import Action, RoundAsked, RoundProgressed, RowLost
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.surveys import Purpose
from headrace.core.samples import Origin
from headrace.core.topics import MEASURED, dlq_topic_name
from services.controller.letters import tell_rounds
from tests.fakes.bodies import BODIES, REWRITE
from tests.fakes.certain import certain
from tests.fakes.round_parts import Rounds, started


class KnownStates:
    """Rounds as they stand, never read anew."""

    def __init__(self, states: dict[tuple[str, str], RoundState]) -> None:
        self.states = states

    async def refresh(self, **_: object) -> None:
        return

    def state_of(self, dataset_id: str, round_id: str) -> RoundState | None:
        return self.states.get((dataset_id, round_id))

    def of_dataset(self, _: str) -> list[RoundState]:
        return list(self.states.values())


def said(body: Any, service: str) -> Any:
    """The fact in what a dead letter says."""
    return certain(said_by(body, service, "gone", "l1")).fact


def _named(fact: Any) -> tuple[Any, Any]:
    return fact.axis, fact.sample_id


def test_dead_letters_speak_to_rounds():
    """Rows and rewrites are lost by name, steps and cuts freeze; what belongs to no round says nothing."""
    lost = said(BODIES["SurveyedSample"], "scoring")
    assert (lost.purpose, lost.sample_id, lost.axis) == (Purpose.ROUND, "problem-7", None)
    assert said(BODIES["MeasuredSample"], "datasets").sample_id == "problem-7"
    for body in (BODIES["RefinementRequested"], BODIES["Dossier"], BODIES["ScoredSample"]):
        rewrite = certain(said_by(body, "refinement", "gone", "l1"))
        assert (rewrite.round_id, *_named(rewrite.fact)) == ("round-1", Axis.HARD, REWRITE.parent.id)
    frozen = said(BODIES["RoundStepRequested.SurveyRequested"], "datasets")
    assert (frozen.action, frozen.dead_letter_id) == (Action.FREEZE, "l1")
    assert certain(said_by(DatasetCutRequested("arithmetic", "round/r1", ""), "datasets", "", "l1")).round_id == "r1"
    assert said_by(BODIES["DatasetCutRequested"], "datasets", "", "l1") is None
    assert certain(said_by(DatasetCutRequested("arithmetic", "round/r1/standing", ""), "datasets", "", "l1")).round_id == "r1"
    submitted = BODIES["Dossier.submitted"]
    for body in (submitted, ScoredSample(submitted, None)):
        back = certain(said_by(body, "scoring", "gone", "l1"))
        assert (back.round_id, back.fact) == ("round-0", RowLost(None, "problem-7", 3, "scoring", "gone"))
    plain = replace(submitted, sample=replace(submitted.sample, origin=Origin()))
    assert said_by(plain, "scoring", "", "l1") is None
    assert said_by(replace(BODIES["Dossier"], rewrite=replace(REWRITE, axis="odd")), "scoring", "", "l1") is None


def test_dead_letters_are_read_as_they_lie():
    """A letter is named by where it lies; one that cannot be read says nothing."""
    name = dlq_topic_name(MEASURED.name, "datasets")
    assert dlq_topic_name(MEASURED.name, "diversity") not in SOURCES
    body = encode(BODIES["MeasuredSample"])
    record = SimpleNamespace(topic=name, partition=0, offset=7, key=b"k", value=body, timestamp=1, headers=())
    letter = letter_in(record)
    assert certain(letter).id == f"{name}/0@7"
    assert letter_in(SimpleNamespace(**{**vars(record), "value": b"\xff"})) is None


async def test_letters_are_told_until_they_are_known():
    """To rounds that run and do not know them; a broker that goes away is asked again from the beginning."""
    told: list[str] = []
    times, machine = 0, Rounds()
    machine.take(started())
    machine.tell(RowLost(Purpose.ROUND, "problem-1", 0, "scoring", "gone"))
    states = KnownStates({("arithmetic", "r1"): machine.states["r1"]})
    letters = [
        Letter("l1", RoundProgressed("arithmetic", "r1", RowLost(Purpose.ROUND, "problem-1", 0, "scoring", "gone"))),
        Letter("l2", RoundProgressed("arithmetic", "r1", RowLost(Purpose.ROUND, "problem-2", 0, "scoring", "gone"))),
        Letter("l3", RoundProgressed("arithmetic", "r1", RowLost(None, "problem-2", 0, "scoring", "gone", Axis.HARD))),
        Letter("l4", RoundProgressed("arithmetic", "r1", RoundAsked(Action.FREEZE, "gone", "dead letters", "l4"))),
        Letter("l6", RoundProgressed("arithmetic", "r1", RowLost(None, "problem-2", 34, "scoring", "gone"))),
        Letter("l5", RoundProgressed("arithmetic", "r9", RowLost(Purpose.ROUND, "problem-2", 0, "scoring", "gone"))),
    ]

    async def read():
        nonlocal times
        times += 1
        for letter in letters:
            yield letter
        if times > 1:
            await asyncio.Event().wait()
        raise Stop("the store is gone")

    async def publish(_, event_id: str) -> None:
        told.append(event_id)

    task = asyncio.create_task(tell_rounds(read, states, publish, again_s=0.01))
    async with asyncio.timeout(30):
        while len(told) < 8:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert told == ["l2", "l3", "l4", "l6"] * 2
