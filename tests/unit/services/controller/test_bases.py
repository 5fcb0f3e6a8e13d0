"""What an adapter belongs to: found as long as anything refers to it, wherever it lies."""

import pytest

from headrace.adapters.versions.gc import Elsewhere, GarbageCollector, Keeping
from headrace.core.checkpoints import (
    CheckpointKind,
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    RefusedStep,
    RollbackRequested,
)
from headrace.lm.weights import weights_sha256
from tests.fakes.model_repositories import adapter_folder, weights_folder
from tests.fakes.roll_out_world import World

DAY = 86_400.0


@pytest.fixture
def world(tmp_path) -> World:
    """Its repository keeps two versions beside the first and those that are served."""
    return World(tmp_path, settings={"versions_kept": 2})


async def full(world: World, name: str, loss: float) -> tuple[CheckpointPublished, str]:
    """A full checkpoint, rolled out, and the hash of its weights."""
    folder = weights_folder(world.folder / name, loss=loss)
    published = await world.published(folder, CheckpointKind.FULL)
    assert isinstance(await world.deliver(published), CheckpointRolledOut)
    return published, weights_sha256(folder)


async def test_every_announcement_names_its_weights(world):
    """Those that the model server began with, too, and those that a rollback goes to."""
    _, sha256 = await full(world, "full", 1.5)
    told = await world.deliver(RollbackRequested("signals", "r", "", "ada"))
    announced = [each for each in world.told if isinstance(each, CheckpointRolledOut)]
    assert [each.weights_sha256 for each in announced] == [world.base_sha256, sha256, world.base_sha256]
    assert told == announced[-1]


async def test_an_adapter_to_a_version_that_left_the_disk_is_rolled_out(world):
    """Its base is fetched with it, under its own number, and leaves again with the next one."""
    _, sha256 = await full(world, "full", 1.5)
    for number in range(3):
        await full(world, f"later{number}", 2.0 + 0.1 * number)
    assert 2 not in world.repository.versions("signals")
    told = await world.deliver(await world.published(adapter_folder(world.folder / "a", 0.25), base_sha256=sha256))
    assert isinstance(told, CheckpointRolledOut)
    assert told.golden_loss == pytest.approx(1.75)
    assert world.repository.versions("signals") == (1, 5, 6)


async def test_a_rollback_to_an_adapter_whose_base_left_the_disk_as_well_fetches_both(world):
    """It measured once, so it can measure again."""
    _, sha256 = await full(world, "full", 1.5)
    adapter = await world.published(adapter_folder(world.folder / "a", 0.25), base_sha256=sha256)
    assert isinstance(await world.deliver(adapter), CheckpointRolledOut)
    for number in range(3):
        await full(world, f"later{number}", 2.0 + 0.1 * number)
    assert not {2, 3} & {*world.repository.versions("signals")}
    told = await world.deliver(RollbackRequested("signals", "r", adapter.checkpoint_id, "ada"))
    assert isinstance(told, CheckpointRolledOut)
    assert told.model_version == "3"
    assert told.golden_loss == pytest.approx(1.75)


async def test_where_the_base_was_collected_the_refusal_says_so(world):
    """Nothing changes."""
    base, sha256 = await full(world, "full", 1.5)
    for number in range(3):
        await full(world, f"later{number}", 2.0 + 0.1 * number)
    world.objects.clock = lambda: 1_000.0 + 2 * DAY
    assert [
        each async for each in GarbageCollector(world.objects, Keeping(DAY)).delete(Elsewhere(checkpoints={base.checkpoint_id}))
    ]
    told = await world.deliver(await world.published(adapter_folder(world.folder / "a", 0.25), base_sha256=sha256))
    assert isinstance(told, CheckpointRefused)
    assert told.step is RefusedStep.FETCH
    assert f"weights of checkpoint {base.checkpoint_id[:12]} were collected" in told.reason
    assert world.repository.served("signals") == (4, 5)


async def test_a_loss_of_nothing_is_refused(world):
    """No model knows every token: the weights are broken, or the golden samples are."""
    told = await world.deliver(await world.published(weights_folder(world.folder / "full", loss=0.0), CheckpointKind.FULL))
    assert isinstance(told, CheckpointRefused)
    assert told.step is RefusedStep.GOLDEN
    assert "HEADRACE_CONTROLLER_GOLDEN_LOSS_MIN (0.001)" in told.reason
