"""Datasets and commands that are odd: each case a small dataset of its own, all of them at once on one spine."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from typer.testing import Result

from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.rounds.round_states import RoundStates
from headrace.core.checkpoints import CheckpointRolledOut
from headrace.core.dossiers import CURRENT, Dossier
from headrace.core.events import Send
from headrace.core.rounds.facts import RoundProgressed
from headrace.core.rounds.state import RoundState
from headrace.core.topics import CHECKPOINT_ROLLED_OUT, COMMITTED, DECIDED, ROUND_PROGRESSED
from tests.e2e.mending import Mender
from tests.e2e.rounds import ended, policy, samples
from tests.e2e.spine import Spine
from tests.fakes import commands
from tests.fakes.certain import certain

Line = Mapping[str, Any]
_WAIT_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    """A dataset's policy, and what is submitted to it."""

    rules: Mapping[str, Any]
    lines: Sequence[Line]


def alike() -> list[Line]:
    """Conversations that differ in nothing that the stub of a model sees but for the judge: upper and lower case."""
    words = ["weir", "mill", "lock", "race"]
    prompts = [
        " ".join(word.upper() if number >> place & 1 else word for place, word in enumerate(words)) for number in range(16)
    ]
    return [
        {"id": f"s{number}", "messages": [{"role": "user", "content": each}, {"role": "assistant", "content": "Four words."}]}
        for number, each in enumerate(prompts)
    ]


_NOBODY = {"target_share": 0.0}
CASES = {
    "no-rows": Case(policy() | {"signals": {"base_model": "base", "loss_max": 0.0}}, samples(2)),
    "one-row": Case(policy(), samples(1)),
    "two-rows": Case(policy(), samples(2)),
    "equal-rows": Case(policy(low_quality={"enabled": False}), alike()),
    "unselected": Case(policy(hard=_NOBODY, sparse=_NOBODY, low_quality=_NOBODY), samples(30)),
    "penniless": Case(policy(budget={"tokens": 0}), samples(30)),
    "thrifty": Case(
        policy(budget={"tokens": 20_000, "roles": {"answerer": {"tokens": 12_000}}}),
        samples(110)[80:],  # others, so that no reply is known
    ),
    "all-selected": Case(policy(hard={"m": -50.0}, sparse={"enabled": False}, low_quality={"enabled": False}), samples(80)[60:]),
    "frozen": Case(policy(), samples(30)),
    "aborted": Case(policy(), samples(60)[30:]),  # others, so that no reply is known
    "undone": Case(policy(train=True), samples(80)),
}
WORKING = ("thrifty", "all-selected", "frozen", "aborted", "undone")
"""Cases whose rounds have something to rewrite."""


def command(spine: Spine, *arguments: str, stdin: str | None = None) -> Result:
    """How a `headrace` command ended."""
    return commands.command(spine.environment_of_commands(), *arguments, stdin=stdin)


def done(spine: Spine, *arguments: str, stdin: str | None = None) -> str:
    """What it printed; it must not fail."""
    result = command(spine, *arguments, stdin=stdin)
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return result.stdout


def prepare(spine: Spine) -> None:
    """All datasets, with a version each."""
    for name, case in CASES.items():
        file = spine.folder / f"{name}.yaml"
        file.write_text(json.dumps(case.rules))
        done(spine, "dataset", "create", name, "--file", str(file))
        done(spine, "submit", "--dataset", name, "-", stdin="".join(json.dumps(line) + "\n" for line in case.lines))
    for name, case in CASES.items():
        asyncio.run(spine.settled(name, len(case.lines)))
        done(spine, "dataset", "cut", name)
    asyncio.run(_cut(spine, set(CASES)))


async def _cut(spine: Spine, missing: set[str]) -> None:
    async with asyncio.timeout(_WAIT_S_MAX), aclosing(read_topic(COMMITTED, spine.environment["HEADRACE_KAFKA"])) as events:
        async for event in events:
            missing.discard(event.body.dataset_id)
            if not missing:
                return


def begin(spine: Spine, name: str) -> str:
    """The id of a round that has begun."""
    begun: dict[str, Any] = json.loads(done(spine, "round", "start", name, "--anyway", "--json"))
    return str(begun["round_id"])


def begin_and_hold(spine: Spine, mender: Mender, name: str) -> str:
    """The id of a round that has begun to have rows rewritten; they wait for an answer while `mender.held` is set."""
    asked, deadline = mender.asked["cases"].total(), time.monotonic() + _WAIT_S_MAX
    mender.held.set()
    round_id = begin(spine, name)
    while mender.asked["cases"].total() == asked:
        assert time.monotonic() < deadline, f"round {round_id} of {name} asks for nothing"
        time.sleep(0.05)
    return round_id


def submit_until_measured_by(spine: Spine, name: str, version: str) -> None:
    """Sends samples to a dataset of one row until this version of the model has measured one: services learn of it one by one."""
    for number, line in enumerate(samples(30)[1:], 2):
        done(spine, "submit", "--dataset", name, "-", stdin=json.dumps(line))
        asyncio.run(spine.settled(name, number))
        if version in versions_of(spine, name):
            return
    raise AssertionError(f"version {version} measures nothing")


def versions_of(spine: Spine, dataset: str) -> set[str]:
    """The model versions that measured the dataset's samples."""
    return {certain(each.signals_of(CURRENT)).model_version for each in decided(spine, dataset)}


def decided(spine: Spine, dataset: str) -> list[Dossier]:
    """The dataset's samples as they were decided."""

    async def read() -> list[Dossier]:
        async with aclosing(read_topic(DECIDED, spine.environment["HEADRACE_KAFKA"], until_now=True)) as events:
            return [event.body async for event in events if event.body.sample.dataset_id == dataset]

    return asyncio.run(read())


def ends(spine: Spine, *names: str) -> dict[str, RoundState]:
    """How the rounds of these cases came to an end."""

    async def wait() -> list[RoundState]:
        return await asyncio.gather(*(ended(spine, name) for name in names))

    return dict(zip(names, asyncio.run(wait()), strict=True))


def until(spine: Spine, dataset: str, round_id: str, holds: Callable[[RoundState], bool]) -> RoundState:
    """The round's state, once it holds."""

    async def wait() -> RoundState:
        async with asyncio.timeout(_WAIT_S_MAX), RoundStates.opened(spine.environment["HEADRACE_KAFKA"]) as states:
            while True:
                await states.refresh()
                state = states.state_of(dataset, round_id)
                if state is not None and holds(state):
                    return state
                await asyncio.sleep(0.05)

    return asyncio.run(wait())


def begin_another(spine: Spine, state: RoundState) -> RoundState:
    """What becomes of a round that is asked for while this one runs, past the command that would refuse it at once."""
    survey = replace(state.begun.survey, round_id=f"{state.round_id}-another")
    fact = RoundProgressed(state.dataset_id, survey.round_id, replace(state.begun, survey=survey))
    publish(spine, f"start/{survey.round_id}", Send(ROUND_PROGRESSED, fact))
    return until(spine, state.dataset_id, survey.round_id, lambda _: True)


def roll_out(spine: Spine, version: str, previous: str = "") -> None:
    """From here on this version of the model measures what is submitted."""
    told = CheckpointRolledOut("signals", "", version, previous, 1.0, 576, 0.1, 0.1, time.time())
    publish(spine, f"roll-out/{version}", Send(CHECKPOINT_ROLLED_OUT, told))


def publish(spine: Spine, event_id: str, send: Send) -> None:
    """One event, as somebody outside the services sends it."""

    async def once() -> None:
        async with EventPublisher(spine.environment["HEADRACE_KAFKA"], "headrace/test") as publisher:
            await publisher.publish(send, event_id=event_id)

    asyncio.run(once())
