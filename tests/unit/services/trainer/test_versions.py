"""Which version a trainer that follows versions takes next, and what it leaves."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, TrainingData
from headrace.core.events import Stop
from headrace.core.fine_tuning import Stage
from headrace.core.policies import TrainingRules
from headrace.core.rounds.facts import Action, RoundAsked, RoundCommitted
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.state import Phase, RevertCounts, RoundState
from headrace.core.version_names import NoSuchVersion
from services.trainer import training
from services.trainer.runs import NothingToTrain
from services.trainer.versions import Due, awaited, is_busy, is_trained, is_undone
from tests.fakes.round_parts import NEXT_VERSION, VERSION, Parts, Rounds, started

RULES = TrainingRules(held_out_share=0.1, held_out_seed="seed")
DATA = TrainingData("arithmetic", NEXT_VERSION, held_out_share=0.1, held_out_seed="seed")
PUBLISHED = CheckpointPublished("signals", "cd" * 32, "key", CheckpointKind.ADAPTER, (), "tiny", "bb" * 32, DATA, 1.0)


@pytest.fixture
def rounds() -> Rounds:
    """A round that waits for its checkpoint."""
    rounds = Rounds()
    rounds.run(started(RoundPolicy()), Parts(trains=False))
    assert rounds.states["r1"].phase is Phase.TRAINING
    return rounds


def test_what_a_round_waits_for_comes_first(rounds):
    """Without the very prompts that it measures by, whatever the policy says by now; a frozen round waits, too."""
    states = [rounds.states["r1"]]
    assert awaited(states, "signals") == Due(NEXT_VERSION, RULES)
    assert awaited(states, "other") is None
    assert is_busy(states, "signals")
    rounds.tell(RoundAsked(Action.FREEZE, "", "ada"))
    states = [rounds.states["r1"]]
    assert awaited(states, "signals") == Due(NEXT_VERSION, RULES)
    assert not is_busy(states, "signals")


def test_a_round_at_work_is_waited_for():
    """What is cut while it surveys is out of date when it has ended; one that has ended is nothing to wait for."""
    rounds = Rounds()
    rounds.take(started())
    assert awaited(rounds.states.values(), "signals") is None
    assert is_busy(rounds.states.values(), "signals")
    assert not is_busy(rounds.states.values(), "other")
    rounds.tell(RoundAsked(Action.ABORT, "", "ada"))
    assert not is_busy(rounds.states.values(), "signals")


def test_a_version_that_has_a_checkpoint_is_trained():
    """Whoever trained it, if it holds out what is to be held out."""
    due = Due(NEXT_VERSION, RULES)
    assert is_trained([PUBLISHED], "arithmetic", "signals", due)
    assert not is_trained([PUBLISHED], "arithmetic", "other", due)
    assert not is_trained([PUBLISHED], "notes", "signals", due)
    assert not is_trained([PUBLISHED], "arithmetic", "signals", replace(due, version=VERSION))
    assert not is_trained([PUBLISHED], "arithmetic", "signals", replace(due, rules=TrainingRules(held_out_seed="other")))


@dataclass
class World:
    """News, versions and a trainer of which only what is asked for is written down."""

    latest: str = VERSION
    states: list[RoundState] = field(default_factory=list)
    checkpoints: list[CheckpointPublished] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    shown: list[Stage] = field(default_factory=list)
    happens: list[Callable[[], None]] = field(default_factory=list)
    """What happens while the trainer waits, one thing at a time; at the end of it the test is over."""

    aside: set[str] = field(default_factory=set)
    dataset_id: str = "arithmetic"
    model: str = "signals"
    objects: object = None

    async def rounds(self):
        return self.states

    async def published(self):
        return self.checkpoints

    async def wait(self):
        if not self.happens:
            raise asyncio.CancelledError
        self.happens.pop(0)()


@pytest.fixture
def world(monkeypatch) -> World:
    """A world in which whatever is trained has a checkpoint at once; a version that is called empty has no rows."""
    world = World()

    class Store:
        def __init__(self, _):
            pass

        async def latest(self, _):
            return type("Version", (), {"id": world.latest}) if world.latest else None

        async def version(self, _, name):
            if name == "pruned":
                world.latest = VERSION
                raise NoSuchVersion("it was pruned")
            return type("Version", (), {"id": name})

    async def trained(_, chosen, rules, show):
        if chosen.id == "empty":
            raise NothingToTrain("no accepted sample")
        if chosen.id == "away":
            world.latest = VERSION
            raise Stop("the object store is gone")
        world.trained.append(chosen.id)
        data = replace(DATA, version=chosen.id, held_out_share=rules.held_out_share, held_out_seed=rules.held_out_seed)
        world.checkpoints.append(replace(PUBLISHED, data=data))
        return world.checkpoints[-1]

    async def rules(_):
        return RULES

    monkeypatch.setattr(training, "VersionStore", Store)
    monkeypatch.setattr(training, "_trained", trained)
    monkeypatch.setattr(training, "_rules_of", rules)
    monkeypatch.setattr(training, "_AGAIN_S", 0.0)
    return world


async def follow(world):
    """What is trained until nothing happens any more."""
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await training._next(world, world, world.aside, lambda progress: world.shown.append(progress.stage))
    return world.trained


async def test_each_version_once_and_of_several_the_latest(world):
    """Two that came while it waited are one; a restart finds what is published and trains nothing again."""
    world.happens = [lambda: setattr(world, "latest", "second"), lambda: setattr(world, "latest", "fourth")]
    assert await follow(world) == [VERSION, "second", "fourth"]
    assert await follow(world) == [VERSION, "second", "fourth"]
    assert set(world.shown) == {Stage.WAITING}


async def test_while_a_round_is_at_work_only_what_it_waits_for_is_trained(world, rounds):
    """Then the version that was cut meanwhile has its turn."""
    waiting = rounds.states["r1"]
    world.states = [replace(waiting, phase=Phase.SURVEYING, committed=None)]
    world.happens = [lambda: setattr(world, "states", [waiting]), lambda: setattr(world, "states", [])]
    assert await follow(world) == [NEXT_VERSION, VERSION]
    assert world.shown == [Stage.WAITING_FOR_ROUND, Stage.WAITING, Stage.WAITING]


async def test_a_version_that_undid_a_round_is_not_trained(world, rounds):
    """It has the rows of the version before, whose model measures again; training it would begin the same round anew."""
    cut = RoundCommitted(VERSION, 7, 10)
    ended = replace(rounds.states["r1"], phase=Phase.ROLLED_BACK, revert=RevertCounts(Phase.ROLLED_BACK, "", "", version=cut))
    assert is_undone([ended], VERSION)
    assert not is_undone([ended], NEXT_VERSION)
    world.states = [ended]
    assert await follow(world) == []


async def test_what_is_empty_gone_or_away_for_a_while_does_not_end_it(world):
    """No version yet, one without rows that could be trained on, one that was pruned, a store that is gone for a moment."""
    world.latest = ""
    world.happens = [lambda latest=latest: setattr(world, "latest", latest) for latest in ("empty", "pruned", "away")]
    assert await follow(world) == [VERSION]
    assert Stage.AWAY in world.shown
