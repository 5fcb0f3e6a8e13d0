"""A refusal is final until somebody asks again: `headrace checkpoint rollout` announces the checkpoint anew."""

from headrace.core.checkpoints import CheckpointRefused, CheckpointRolledOut
from tests.fakes.roll_out_world import World


async def test_a_checkpoint_that_was_refused_is_rolled_out_when_it_is_asked_for_again(tmp_path):
    """The cause has passed: announced anew it goes through all steps, under a number of its own, and counts as rolled out."""
    world = World(tmp_path)
    published = await world.adapter("a")
    key = f"checkpoints/blobs/{published.files[0].sha256}"
    body = world.objects.objects.pop(key)
    assert isinstance(await world.deliver(published, 0), CheckpointRefused)
    world.objects.objects[key] = body
    told = await world.deliver(published, 3)
    assert isinstance(told, CheckpointRolledOut)
    assert (told.model_version, told.checkpoint_id) == ("5", published.checkpoint_id)
