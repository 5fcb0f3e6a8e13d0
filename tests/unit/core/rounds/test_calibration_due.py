"""When staged rows are enough for a calibration, and that it is not asked for again and again."""

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.dossiers import JUDGED, Judgement
from headrace.core.rounds.calibration_due import Measurer, awaits_calibration, measurer_of, rows_due, rows_wanted_at_least
from headrace.core.rounds.standing import StandingPolicy, StandingThresholds
from headrace.core.samples import Origin, OriginKind
from tests.fakes.decisions import dossier

OLD, NEW, OTHER_RULER = Measurer("smol", "3"), Measurer("smol", "4"), Measurer("smol", "3", "another")
SCORES: dict[str, Any] = dict.fromkeys(JUDGED, 5.0)
JUDGEMENT = Judgement("logits", "ruler", **SCORES)
measured = st.lists(st.sampled_from([None, OLD, NEW]), max_size=40)


def standing(rows, of="", ruler="", **more):
    found = StandingThresholds(model="smol", model_version=of, rows=9, source="r", ruler_hash=ruler or None) if of else None
    return StandingPolicy(rows=rows, thresholds=found, **more)


def runs(rows):
    return [(measurer, len(list(run))) for measurer, run in groupby(rows)]


def row(loss=1.0, judgement=None, **of_sample):
    found = dossier("a")
    return replace(
        found,
        signals=(replace(found.signals[0], loss_mean=loss, judgement=judgement),),
        sample=replace(found.sample, **of_sample),
    )


def test_a_fresh_dataset_is_due_with_the_row_that_makes_up_the_number():
    """Up to that very row, others between them or not; without the section never."""
    rows = [OLD, None, OLD, NEW, OLD, OLD]
    assert rows_due(runs(rows), standing(3), {}) == 5
    assert rows_due(runs(rows[:4]), standing(3), {}) is None
    assert rows_due(runs(rows), standing(0), {}) is None


def test_what_a_version_holds_already_counts():
    """Versions that were cut for other reasons leave less to wait for."""
    assert rows_due([(NEW, 4)], standing(10), {"smol 3": 9, "smol 4": 7}) == 3
    assert rows_due([(NEW, 2)], standing(10), {"smol 4": 7}) is None


def test_who_is_calibrated_is_not_waited_for():
    """Thresholds hold for one version, and for one ruler: another one is due."""
    assert rows_due([(OLD, 9)], standing(3, of="3"), {}) is None
    assert rows_due([(OLD, 9), (NEW, 9)], standing(3, of="3"), {}) == 12
    assert rows_due([(OTHER_RULER, 9)], standing(3, of="3", ruler="ruler", low_quality=True), {}) == 3


def test_a_version_that_brought_no_thresholds_is_tried_again_after_as_many_rows():
    """Then everything goes into it that there is: rows in stock make no chain of versions."""
    assert rows_due([(OLD, 9)], standing(10), {"smol 3": 10}) is None
    assert rows_due([(None, 5), (OLD, 10), (None, 7), (OLD, 90)], standing(10), {"smol 3": 10}) == 112


@given(measured, measured, st.integers(1, 8))
def test_it_is_due_with_the_first_row_that_makes_it_so(taken, rows, number):
    """As if each row were looked at by itself, however they are divided into runs."""
    models = {f"smol {each.model_version}": taken.count(each) for each in (OLD, NEW)}
    due = rows_due(runs(rows), standing(number), models)
    assert due == rows_due([(each, 1) for each in rows], standing(number), models)
    first = next((n for n in range(len(rows) + 1) if rows_due(runs(rows[:n]), standing(number), models) is not None), None)
    assert (due is None) == (first is None)
    if due is not None and first is not None:
        assert due in {first, len(rows)}
        assert first >= rows_wanted_at_least(standing(number), models)


@given(measured, st.integers(1, 8))
def test_versions_are_bounded_by_their_rows(rows, number):
    """Where no calibration ever comes about, each version for it takes as many rows of one measurer as are asked for."""
    models, staged, cuts = {"smol 3": 0, "smol 4": 0}, [], 0
    for each in rows:
        staged.append(each)
        while (due := rows_due(runs(staged), standing(number), models)) is not None:
            cuts, taken, staged = cuts + 1, staged[:due], staged[due:]
            for measurer in (OLD, NEW):
                models[f"smol {measurer.model_version}"] += taken.count(measurer)
    assert cuts <= sum(rows.count(each) // number for each in (OLD, NEW))


@pytest.mark.parametrize(
    ("found", "plain", "judged"),
    [
        (row(), Measurer("smol", "3"), None),
        (row(judgement=JUDGEMENT), Measurer("smol", "3"), Measurer("smol", "3", "ruler")),
        (row(judgement=replace(JUDGEMENT, error="no number")), Measurer("smol", "3"), None),
        (row(judgement=replace(JUDGEMENT, prompt_clarity=None)), Measurer("smol", "3"), None),
        (row(loss=None, judgement=JUDGEMENT), None, None),
        (row(origin=Origin(OriginKind.REFINED, round="r1", axis="hard")), None, None),
        (replace(row(), signals=()), None, None),
    ],
)
def test_which_rows_count(found, plain, judged):
    """What was measured and, where quality counts, judged; never rewrites, which have to beat their parents."""
    assert measurer_of(found, standing(5)) == plain
    assert measurer_of(found, standing(5, low_quality=True)) == judged


def test_only_rows_without_thresholds_are_worth_a_look():
    """With the section off, or thresholds of who measured them, nothing is looked at."""
    assert awaits_calibration([row()], standing(5))
    assert awaits_calibration([row()], standing(5, of="2"))
    assert not awaits_calibration([row()], standing(5, of="3"))
    assert not awaits_calibration([row()], standing(0))
    assert not awaits_calibration([row(loss=None)], standing(5))
