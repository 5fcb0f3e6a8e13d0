"""Rolling out and back."""

import fcntl
import json
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headrace.core.checkpoints import (
    CheckpointKind,
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    RefusedStep,
    RollbackRequested,
)
from headrace.core.events import Emit, Event, Position, Stop
from headrace.core.ports.signal_model import Measured, Unmeasured
from headrace.core.topics import CHECKPOINT_PUBLISHED
from headrace.lm.weights import weights_sha256
from services.controller.handlers import roll_out
from tests.fakes.model_repositories import (
    HIDDEN,
    Q,
    adapter_folder,
    tensors,
    weights_folder,
    write_tensors,
)
from tests.fakes.roll_out_world import World


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


async def test_an_adapter_is_merged_loaded_measured_and_announced(world):
    """The version that was there is announced first; the new one measures what base and adapter make together."""
    told = await world.deliver(await world.adapter("a", change=0.5))
    first, second = world.announced
    assert (first.model_version, first.checkpoint_id, first.golden_loss) == ("1", "", pytest.approx(2.0))
    assert told is second
    assert (second.model_version, second.previous_version, second.dimensions) == ("2", "1", HIDDEN)
    assert (second.golden_loss, second.previous_golden_loss) == (pytest.approx(2.5), pytest.approx(2.0))
    assert (second.seconds, second.rolled_out_at) == (40.0, 50.0)
    assert world.server.loaded == {1, 2}
    assert world.repository.served("signals") == (1, 2)
    folder = world.repository.root / "signals" / "2"
    assert (folder / "model.py").read_text() == "# measures\n"
    assert (folder / "weights" / "chat_template.jinja").read_text() == "the base's"
    assert not list(world.repository.root.glob(".unfinished-*"))


async def test_a_full_checkpoint_brings_its_tensors_and_nothing_else(world):
    """Configuration, tokenizer and template are the base's own, whatever the checkpoint has."""
    full = weights_folder(world.folder / "full", loss=1.5, auto_map={"AutoModel": "evil.Model"}, extra="x")
    (full / "chat_template.jinja").write_text("another")
    told = await world.deliver(await world.published(full, CheckpointKind.FULL))
    assert isinstance(told, CheckpointRolledOut)
    assert told.golden_loss == pytest.approx(1.5)
    weights = world.repository.weights("signals", 2)
    assert (weights / "chat_template.jinja").read_text() == "the base's"
    assert "auto_map" not in json.loads((weights / "config.json").read_text())


async def test_a_full_checkpoint_in_several_files_gets_an_index_of_its_own(world):
    """Names and index are made here, not taken from the checkpoint."""
    full = weights_folder(world.folder / "full", loss=1.5)
    (full / "model.safetensors").unlink()
    weights = tensors(1.5)
    write_tensors(full / "a.safetensors", {Q: weights.pop(Q)})
    write_tensors(full / "b.safetensors", weights)
    assert isinstance(await world.deliver(await world.published(full, CheckpointKind.FULL)), CheckpointRolledOut)
    folder = world.repository.weights("signals", 2)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert index[Q] == "model-00001-of-00002.safetensors"
    assert {(folder / name).is_file() for name in index.values()} == {True}


async def test_the_version_in_use_stays_loaded_and_only_older_ones_leave(world):
    """Never more than two are in memory, and the present one is never touched."""
    for number in range(4):
        told = await world.deliver(await world.adapter(f"a{number}", change=0.1 * number))
        assert isinstance(told, CheckpointRolledOut)
    assert world.server.most_loaded == 2
    assert world.server.loaded == {4, 5}
    assert world.repository.versions("signals") == (1, 3, 4, 5)


async def test_a_checkpoint_that_was_announced_is_not_rolled_out_again(world):
    """The same event again, or published again by a trainer that was killed: no second announcement."""
    published = await world.adapter("a")
    await world.deliver(published, 0)
    assert await world.deliver(published, 0) is None
    assert await world.deliver(published, 7) is None
    assert [each.model_version for each in world.announced] == ["1", "2"]


def flipped(world: World, published: CheckpointPublished) -> None:
    key = f"checkpoints/blobs/{published.files[-1].sha256}"
    body = world.objects.objects[key]
    world.objects.objects[key] = body[:-1] + bytes([body[-1] ^ 1])


def lost(world: World, published: CheckpointPublished) -> None:
    del world.objects.objects[f"checkpoints/blobs/{published.files[0].sha256}"]


def broken(world: World, _: CheckpointPublished) -> None:
    world.server.breaks[2] = "out of memory"


def gone_again_and_again(world: World, _: CheckpointPublished) -> None:
    for _attempt in range(3):
        world.repository.count_load("signals", 2)


def unwritable(world: World, _: CheckpointPublished) -> None:
    (world.repository.root / "signals" / "1" / "model.py").unlink()


def says(outcome: Callable[[Measured], Measured | Unmeasured]) -> Callable[[World, CheckpointPublished], None]:
    def prepare(world: World, _: CheckpointPublished) -> None:
        world.server.measured[2] = outcome

    return prepare


def smaller(said: Measured) -> Measured:
    assert said.embeddings is not None
    return replace(said, embeddings=replace(said.embeddings, conversation=said.embeddings.conversation[:-4]))


@pytest.mark.parametrize(
    ("spoil", "step", "reason"),
    [
        (flipped, RefusedStep.FETCH, "altered"),
        (lost, RefusedStep.FETCH, "no such object"),
        (broken, RefusedStep.LOAD, "out of memory"),
        (gone_again_and_again, RefusedStep.LOAD, "LOADS_MAX"),
        (unwritable, RefusedStep.INSTALL, "model.py"),
        (says(lambda _: Unmeasured("cannot")), RefusedStep.GOLDEN, "golden sample 1: cannot"),
        (says(lambda said: replace(said, signals=replace(said.signals, error="not finite"))), RefusedStep.GOLDEN, "not finite"),
        (says(lambda said: replace(said, signals=replace(said.signals, loss_mean=float("nan")))), RefusedStep.GOLDEN, "nan"),
        (says(lambda said: replace(said, signals=replace(said.signals, loss_mean=3.1))), RefusedStep.GOLDEN, "LOSS_RATIO_MAX"),
        (says(smaller), RefusedStep.GOLDEN, "dimensions"),
    ],
)  # fmt: skip
async def test_a_checkpoint_that_fails_a_step_is_refused_and_nothing_changes(world, spoil, step, reason):
    """The step and the reason are told; the version in use was never touched, and the next checkpoint is rolled out."""
    published = await world.adapter("a")
    spoil(world, published)
    told = await world.deliver(published)
    assert isinstance(told, CheckpointRefused)
    assert (told.step, told.checkpoint_id) == (step, published.checkpoint_id)
    assert reason in told.reason
    assert [each.model_version for each in world.announced] == ["1"]
    assert world.server.loaded == {1}
    assert world.repository.served("signals") in {None, (1,)}
    assert world.repository.versions("signals") == (1,)
    (world.repository.root / "signals" / "1" / "model.py").touch()
    told = await world.deliver(await world.adapter("b", change=0.25))
    assert isinstance(told, CheckpointRolledOut)
    assert (told.model_version, told.previous_version) == ("3", "1")


@pytest.mark.parametrize(
    ("config", "weights", "reason"),
    [
        ({"hidden_size": 8}, {}, "hidden_size is 8, the base's is 6"),
        ({"model_type": "gpt2"}, {}, "model_type is gpt2"),
        ({"num_hidden_layers": 2}, {}, "num_hidden_layers"),
        ({"vocab_size": 5}, {}, "vocab_size"),
        ({}, {Q: np.ones((HIDDEN, HIDDEN + 1))}, "has shape"),
        ({}, {"model.extra.weight": np.ones(2)}, "none of the base"),
    ],
)
async def test_another_architecture_is_refused_with_the_difference(world, config, weights, reason):
    """By its configuration, and by its tensors whatever the configuration says."""
    full = weights_folder(world.folder / "full", **config)
    write_tensors(full / "model.safetensors", tensors() | weights)
    told = await world.deliver(await world.published(full, CheckpointKind.FULL))
    assert isinstance(told, CheckpointRefused)
    assert told.step is RefusedStep.VERIFY
    assert reason in told.reason
    assert world.server.loads == []


async def test_an_adapter_to_other_weights_is_refused(world):
    """Merged into weights it was not trained on it would mean nothing."""
    told = await world.deliver(await world.published(adapter_folder(world.folder / "a"), base_sha256="e" * 64))
    assert isinstance(told, CheckpointRefused)
    assert told.step is RefusedStep.VERIFY
    assert "base_sha256 eeeeeeeeeeee" in told.reason


async def test_an_adapter_may_belong_to_a_version_that_was_rolled_out(world):
    """Training goes on from a checkpoint that is in the repository."""
    full = weights_folder(world.folder / "full", loss=1.5)
    await world.deliver(await world.published(full, CheckpointKind.FULL))
    told = await world.deliver(await world.published(adapter_folder(world.folder / "a", 0.25), base_sha256=weights_sha256(full)))
    assert isinstance(told, CheckpointRolledOut)
    assert told.golden_loss == pytest.approx(1.75)


async def test_what_does_not_fit_beside_the_present_version_is_refused_before_it_is_loaded(world):
    """Both versions count."""
    size = world.repository.size_bytes("signals", 1)
    world.settings = {"memory_bytes_max": 2 * size - 1, "memory_per_weight_byte": 1.0}
    told = await world.deliver(await world.adapter("a"))
    assert isinstance(told, CheckpointRefused)
    assert told.step is RefusedStep.LOAD
    assert "HEADRACE_CONTROLLER_MEMORY_BYTES_MAX" in told.reason
    assert (2,) not in world.server.loads
    world.settings = {"memory_bytes_max": 2 * size, "memory_per_weight_byte": 1.0}
    assert isinstance(await world.deliver(await world.adapter("b")), CheckpointRolledOut)


async def test_a_loss_above_the_absolute_limit_is_refused(world):
    """Whatever the present version's is."""
    world.settings = {"golden_loss_max": 2.2, "golden_loss_ratio_max": 100}
    told = await world.deliver(await world.adapter("a", change=0.3))
    assert isinstance(told, CheckpointRefused)
    assert "HEADRACE_CONTROLLER_GOLDEN_LOSS_MAX (2.2)" in told.reason


async def test_without_a_repository_or_for_an_unknown_model_the_answer_is_a_refusal(world):
    """It says what to set, and nobody waits for ever."""
    published = await world.adapter("a")
    told = await world.deliver(await world.published(adapter_folder(world.folder / "b"), model="other"))
    assert isinstance(told, CheckpointRefused)
    assert "has no model other" in told.reason
    controller = replace(world.controller(), steps=None, turns=None)
    event = Event("e", CHECKPOINT_PUBLISHED.name, "signals", published, 1.0, Position(CHECKPOINT_PUBLISHED.name, 0, 0))
    ((send,),) = [result.sends for result in await roll_out([event], controller) if isinstance(result, Emit)]
    assert isinstance(send.body, CheckpointRefused)
    assert "HEADRACE_CONTROLLER_MODEL_REPOSITORY" in send.body.reason


async def test_what_is_gone_keeps_the_place(world):
    """Neither the store nor the server being away is a reason to refuse."""
    published = await world.adapter("a")
    world.objects.down = True
    with pytest.raises(Stop):
        await world.deliver(published, 0)
    world.objects.down, world.server.down = False, True
    with pytest.raises(Stop):
        await world.deliver(published, 0)
    world.server.down = False
    assert isinstance(await world.deliver(published, 0), CheckpointRolledOut)


async def test_a_present_version_that_cannot_be_measured_is_no_fault_of_the_checkpoint(world):
    """It is waited for, and the checkpoint keeps its place."""
    published = await world.adapter("a")
    world.server.measured[1] = lambda _: Unmeasured("busy")
    with pytest.raises(Stop, match="busy"):
        await world.deliver(published, 0)
    world.server.measured.clear()
    assert isinstance(await world.deliver(published, 0), CheckpointRolledOut)


async def test_a_server_that_lost_the_present_version_gets_it_back_first(world):
    """Scoring waits for that one, whatever comes next."""
    await world.deliver(await world.adapter("a"))
    world.server.loaded = {1}
    told = await world.deliver(await world.adapter("b", change=0.25))
    assert isinstance(told, CheckpointRolledOut)
    assert world.server.loaded == {2, 3}


async def test_a_version_that_takes_the_server_with_it_is_refused_and_the_server_starts_without_it(world):
    """Each time the server comes back it has what measures; after some attempts that is that."""
    await world.deliver(await world.adapter("a"))
    published = await world.adapter("b", change=0.25)

    def die(action: str) -> None:
        world.server.down = world.server.down or (action == "load" and 3 in (world.repository.served("signals") or ()))

    world.server.before = die
    for _ in range(3):
        with pytest.raises(Stop):
            await world.deliver(published, 1)
        assert world.repository.served("signals") == (2,)
        world.server.down, world.server.loaded = False, {2}
    told = await world.deliver(published, 1)
    assert isinstance(told, CheckpointRefused)
    assert (told.step, "LOADS_MAX" in told.reason) == (RefusedStep.LOAD, True)
    assert world.server.loaded == {2}


async def test_what_was_never_announced_is_not_left_to_a_server_that_is_down(world):
    """Killed together in mid-load: the server may fail at every start for as long as the unknown version is named to it."""
    await world.deliver(await world.adapter("a"))
    world.repository.serve("signals", {2, 3})
    world.server.down = True
    published = await world.adapter("b", change=0.25)
    with pytest.raises(Stop):
        await world.deliver(published, 1)
    assert world.repository.served("signals") == (2,)


async def test_a_rollback_announces_the_earlier_version_under_its_request(world):
    """Back, and back again; the request that comes twice is answered once; there is an end to it."""
    await world.deliver(await world.adapter("a"))
    await world.deliver(await world.adapter("b", change=0.25))
    told = await world.deliver(RollbackRequested("signals", "r1", "", "ada"))
    assert isinstance(told, CheckpointRolledOut)
    assert (told.model_version, told.previous_version, told.rollback_request_id, told.seconds) == ("2", "3", "r1", 10.0)
    assert await world.deliver(RollbackRequested("signals", "r1", "", "ada")) is None
    told = await world.deliver(RollbackRequested("signals", "r2", "", "ada"))
    assert isinstance(told, CheckpointRolledOut)
    assert (told.model_version, told.checkpoint_id) == ("1", "")
    told = await world.deliver(RollbackRequested("signals", "r3", "", "ada"))
    assert isinstance(told, CheckpointRefused)
    assert told.step is RefusedStep.ROLLBACK


async def test_a_rollback_to_a_version_that_left_the_disk_fetches_it_again(world):
    """Under its own number: signals of that version stay comparable."""
    world.settings = {"versions_kept": 2}
    checkpoints = [await world.adapter(f"a{number}", change=0.1 * number) for number in range(4)]
    for checkpoint in checkpoints:
        await world.deliver(checkpoint)
    assert world.repository.versions("signals") == (1, 4, 5)
    told = await world.deliver(RollbackRequested("signals", "r", checkpoints[1].checkpoint_id, "ada"))
    assert isinstance(told, CheckpointRolledOut)
    assert told.model_version == "3"
    assert told.golden_loss == pytest.approx(2.1)


async def test_a_rollback_without_a_way_back_is_refused(world):
    """Nothing was ever rolled out, or not that."""
    for request in (RollbackRequested("signals", "r", "", "ada"), RollbackRequested("signals", "s", "d" * 64, "ada")):
        told = await world.deliver(request)
        assert isinstance(told, CheckpointRefused)
        assert (told.step, told.rollback_request_id) == (RefusedStep.ROLLBACK, request.request_id)


async def test_one_roll_out_at_a_time(world):
    """Another process at work on the repository is waited for, within bounds."""
    published = await world.adapter("a")
    with (world.repository.root / ".controller.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Stop, match="another roll-out"):
            await world.deliver(published, 0)
    assert isinstance(await world.deliver(published, 0), CheckpointRolledOut)


@pytest.mark.parametrize("seed", range(12))
async def test_killed_anywhere_the_next_attempt_ends_the_same(tmp_path, seed):
    """The same version number, one announcement of each, and no more than two versions in memory, however often it dies."""
    luck, world = random.Random(seed), World(tmp_path)

    def die(_: str) -> None:
        if luck.random() < 0.3:
            raise Killed

    world.server.before, kills = die, 0
    world.settings = {"loads_max": 100}
    for number in range(3):
        published = await world.adapter(f"a{number}", change=0.1 * number)
        while True:
            try:
                told = await world.deliver(published, number)
                break
            except Killed:
                kills += 1
        assert isinstance(told, CheckpointRolledOut)
    assert [each.model_version for each in world.announced] == ["1", "2", "3", "4"]
    assert world.server.loaded == {3, 4}
    assert world.server.most_loaded == 2
    assert kills


async def test_versions_that_rounds_measure_with_stay_loaded(world):
    """A roll-out leaves them beside the two that it needs, and accounts for their memory; without the round they leave."""
    world.bound = frozenset({1})
    await world.deliver(await world.adapter("a", change=0.5))
    await world.deliver(await world.adapter("b", change=0.25))
    assert world.server.loaded == {1, 2, 3}
    assert world.repository.served("signals") == (1, 2, 3)
    worse = await world.published(weights_folder(world.folder / "worse", loss=7.5), CheckpointKind.FULL)
    assert isinstance(await world.deliver(worse), CheckpointRefused)
    assert world.repository.served("signals") == (1, 3)
    size = world.repository.size_bytes("signals", 1)
    world.settings = {"memory_bytes_max": round(2.9 * 1.25 * size)}
    refused = await world.deliver(await world.adapter("c", change=0.125))
    assert (refused.step, "a running round holds version 1" in refused.reason) == (RefusedStep.LOAD, True)
    world.bound = frozenset()
    await world.deliver(await world.adapter("d", change=0.0625))
    assert world.server.loaded == {3, 6}
