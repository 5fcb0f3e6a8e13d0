"""Going back to a checkpoint whose weights were collected: refused with the reason, as long as nobody publishes them again."""

from headrace.adapters.versions.gc import Elsewhere, Garbage, GarbageCollector, Keeping
from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut, RefusedStep, RollbackRequested
from tests.fakes.roll_out_world import World

DAY = 86_400.0


async def test_a_rollback_to_collected_weights_is_refused_and_nothing_changes(tmp_path):
    """The reason names the checkpoint and what to do; one whose weights stayed can be gone back to."""
    world = World(tmp_path)
    world.settings = {"versions_kept": 2}
    checkpoints = [await world.adapter(f"a{number}", change=0.1 * number) for number in range(4)]
    for checkpoint in checkpoints:
        await world.deliver(checkpoint)
    world.objects.clock = lambda: 1_000.0 + 2 * DAY
    known = Elsewhere(checkpoints={checkpoints[0].checkpoint_id})
    [gone] = [each async for each in GarbageCollector(world.objects, Keeping(DAY)).delete(known)]
    assert gone.what is Garbage.WEIGHTS
    served = world.repository.served("signals")
    told = await world.deliver(RollbackRequested("signals", "r", checkpoints[0].checkpoint_id, "ada"))
    assert isinstance(told, CheckpointRefused)
    assert (told.step, told.rollback_request_id) == (RefusedStep.FETCH, "r")
    assert f"weights of checkpoint {checkpoints[0].checkpoint_id[:12]} were collected" in told.reason
    assert world.repository.served("signals") == served
    told = await world.deliver(RollbackRequested("signals", "s", checkpoints[1].checkpoint_id, "ada"))
    assert isinstance(told, CheckpointRolledOut)
