"""Whose weights may go: never those that somebody measures with, may go back to, or has named."""

from dataclasses import replace

from headrace.core.checkpoint_retention import NamedByDatasets, collected_key, collected_of, unneeded
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, CheckpointRefused, CheckpointRolledOut, RefusedStep
from headrace.core.roll_out import RollOuts, Told, folded
from tests.fakes.bodies import BODIES
from tests.fakes.round_parts import Parts, Rounds, started

MODEL = "signals"


def published(number: int, model: str = MODEL, version: str = "") -> CheckpointPublished:
    """The checkpoint that is rolled out as version 10 plus its number."""
    whole: CheckpointPublished = BODIES["CheckpointPublished"]
    return replace(
        whole, model=model, checkpoint_id=f"{number:064x}", published_at=float(number), data=replace(whole.data, version=version)
    )


def rolled_out(number: int, model: str = MODEL) -> CheckpointRolledOut:
    whole: CheckpointRolledOut = BODIES["CheckpointRolledOut"]
    return replace(whole, model=model, checkpoint_id=f"{number:064x}" if number else "", model_version=str(10 + number))


def models(*told: Told) -> dict[str, RollOuts]:
    return folded(told)


def going(outs: dict[str, RollOuts], rounds=(), named: NamedByDatasets | None = None, keep_last: int = 2) -> list[int]:
    """The numbers of the checkpoints whose weights go."""
    gone = unneeded(outs, rounds, named or NamedByDatasets(), keep_last=keep_last, ended_since=0.0)
    return sorted(int(each, 16) for each in gone)


def all_rolled_out(*numbers: int, model: str = MODEL) -> dict[str, RollOuts]:
    return models(*(published(n, model) for n in numbers), *(rolled_out(n, model) for n in (0, *numbers)))


def test_what_measures_and_the_latest_stay():
    """Of each model on its own; fewer than two are never kept."""
    assert going(all_rolled_out(1, 2, 3, 4, 5)) == [1, 2, 3]
    assert going(all_rolled_out(1, 2, 3, 4, 5), keep_last=4) == [1]
    assert going(all_rolled_out(1, 2, 3, 4, 5), keep_last=1) == [1, 2, 3]
    assert going(all_rolled_out(1, 2, 3) | all_rolled_out(7, 8, 9, model="other")) == [1, 7]
    assert going({}) == []


def test_what_a_rollback_went_to_stays_and_so_does_what_led_to_it():
    """Those that it went back from are the latest published ones: they stay for that."""
    outs = all_rolled_out(*range(1, 7))
    outs[MODEL].take(rolled_out(2))
    assert outs[MODEL].present == "12"
    assert going(outs) == [3, 4]


def test_what_waits_for_its_roll_out_stays_and_what_was_refused_long_ago_goes():
    """Nobody knows yet what becomes of the one; the other was not wanted."""
    refused = CheckpointRefused(MODEL, f"{2:064x}", RefusedStep.GOLDEN, "not finite", 1.0)
    told: list[Told] = [*(published(n) for n in range(1, 7)), refused, *(rolled_out(n) for n in (0, 3, 4, 5, 6))]
    assert going(models(*told)) == [2, 3, 4]


def test_what_rounds_judge_by_stays():
    """While they run, some time after their end, and of a dataset's latest round for good."""
    ended = Rounds().run(started(), Parts(selected=(0, 0, 0)))
    begun = ended.begun
    survey = replace(begun.survey, model=MODEL, model_version="11", base_model=MODEL, base_model_version="12")
    latest = replace(ended, begun=replace(begun, survey=survey, checkpoint_id=f"{3:064x}"), phase_since=-1.0)
    assert not latest.running
    outs = all_rolled_out(*range(1, 9))
    assert going(outs) == [1, 2, 3, 4, 5, 6]
    assert going(outs, [latest]) == [4, 5, 6]
    later = replace(latest, round_id="r9", begun=replace(begun, survey=replace(survey, model_version="14", base_model="")))
    assert going(outs, [latest, later]) == [1, 2, 3, 5, 6]
    assert going(outs, [replace(latest, phase_since=1.0), later]) == [5, 6]


def test_what_dataset_versions_name_stays():
    """The models whose embeddings they have, and what was trained on a tagged one."""
    outs = all_rolled_out(*range(1, 6))
    outs[MODEL].take(published(2, version="ab" * 32))
    named = NamedByDatasets({(MODEL, "11"), ("unknown", "1"), (MODEL, "unknown")}, {"ab" * 32})
    assert going(outs, named=named) == [3]


def test_a_record_lies_where_its_checkpoint_is_told_from():
    """Beside the manifests, never among them."""
    key = collected_key(MODEL, "ab" * 32)
    assert key == f"collected/{MODEL}/{'ab' * 32}.json"
    assert collected_of(key) == "ab" * 32


def test_what_a_needed_adapter_was_trained_on_stays_and_what_that_was_trained_on():
    """Else nobody could go back to it. An adapter that goes holds nothing."""
    told: list[Told] = [rolled_out(0)]
    for number, base in ((1, 0), (2, 1), (3, 0), (4, 0), (5, 2), (6, 0)):
        told += [
            replace(published(number), kind=CheckpointKind.ADAPTER, base_sha256=f"{base:064x}"),
            replace(rolled_out(number), weights_sha256=f"{number:064x}"),
        ]
    outs = models(*told)
    assert going(outs) == [3, 4]
    assert going(outs, named=NamedByDatasets({(MODEL, "13")})) == [4]
    outs[MODEL].take(published(7))
    outs[MODEL].take(rolled_out(7))
    assert going(outs) == [1, 2, 3, 4, 5]
