"""Whether the model that measures was trained on the version that a round surveys."""

from dataclasses import replace

import pytest

from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, TrainingData, VersionPart
from headrace.core.rounds.binding import trained_otherwise

MINE, OTHER = "a1" * 32, "b2" * 32
DATA = TrainingData("notes", MINE, held_out_share=0.1, held_out_seed="mine")


def amiss(data: TrainingData | None, checkpoint_id: str = "c3" * 32) -> str:
    """What is said of a checkpoint that was trained on this; None: nobody knows it."""
    if data is None:
        return trained_otherwise(checkpoint_id, None, "notes", MINE, 0.1, "mine")
    published = CheckpointPublished("signals", checkpoint_id, "key", CheckpointKind.ADAPTER, (), "tiny", "d4" * 32, data, 1.0)
    return trained_otherwise(checkpoint_id, published, "notes", MINE, 0.1, "mine")


def test_what_was_trained_on_the_version_without_its_held_out_prompts_measures_it():
    """A larger share holds out the same prompts and more."""
    assert amiss(DATA) == ""
    assert amiss(replace(DATA, held_out_share=0.2)) == ""


@pytest.mark.parametrize(
    ("data", "checkpoint_id", "words"),
    [
        (DATA, "", "seen nothing of notes"),
        (None, "c3" * 32, "nobody knows"),
        (replace(DATA, dataset_id="maths"), "c3" * 32, "on dataset maths"),
        (replace(DATA, version=OTHER), "c3" * 32, "version b2b2b2b2b2b2 and not on version a1a1a1a1a1a1"),
        (replace(DATA, version=""), "c3" * 32, "the accepted stream and not"),
        (replace(DATA, version_parts=(VersionPart((0, 2)),)), "c3" * 32, "a part of version a1a1a1a1a1a1 alone"),
        (replace(DATA, held_out_share=0.05), "c3" * 32, "held out 0.05 of the prompts"),
        (replace(DATA, held_out_seed=""), "c3" * 32, "with seed ''"),
    ],
)
def test_what_was_trained_otherwise_is_told(data, checkpoint_id, words):
    """An untrained base, another dataset or version, or prompts that are held out: each says what was trained on instead."""
    assert words in amiss(data, checkpoint_id)
