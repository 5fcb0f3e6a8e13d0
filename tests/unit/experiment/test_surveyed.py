"""The survey outside the stack is the round's: same numbers, same rows selected; and the report says what it found."""

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from headrace.core.rounds.rules import Axis
from headrace.core.samples import Message, Sample
from headrace.experiment.damage import Damage
from headrace.experiment.model_side import Measured
from headrace.experiment.planted import Row
from headrace.experiment.planted_report import COMBINED, DECISION, planted_figures, planted_table
from headrace.experiment.planting import RULES
from headrace.experiment.surveyed import surveyed

COUNT = 40


def measured(loss, *, scores=None, prompts=None) -> Measured:
    chance = np.random.default_rng(5)
    vectors = chance.normal(size=(len(loss), 8)).astype(np.float32) if prompts is None else prompts
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return Measured(
        loss=np.asarray(loss, dtype=float),
        scores=chance.uniform(3, 5, (len(loss), 6)) if scores is None else scores,
        prompts=vectors,
        conversations=vectors,
        errors=tuple("" if np.isfinite(each) else "unreadable" for each in loss),
        judge_errors=("",) * len(loss),
        lengths=np.full((len(loss), 2), 9),
        truncated=np.zeros(len(loss), dtype=bool),
    )


def test_tails_and_selection_are_those_of_the_formulas():
    """Deviations from the mean, the lesser of both losses, the mean of the two largest cosines, the mean of six scores."""
    chance = np.random.default_rng(1)
    pre, post = chance.normal(2, 0.3, COUNT), chance.normal(1.5, 0.3, COUNT)
    base, current = measured(pre), measured(post)
    survey = surveyed(base, current, RULES)
    standard_pre, standard_post = (pre - pre.mean()) / pre.std(), (post - post.mean()) / post.std()
    assert survey.tail(Axis.HARD) == pytest.approx(np.minimum(standard_pre, standard_post))
    assert survey.beyond[Axis.HARD].tolist() == ((standard_pre > 1) & (standard_post > 1)).tolist()
    cosines = current.prompts.astype(float) @ current.prompts.astype(float).T
    np.fill_diagonal(cosines, -np.inf)
    density = np.sort(cosines, axis=1)[:, -2:].mean(axis=1)
    assert survey.tail(Axis.SPARSE) == pytest.approx(-(density - density.mean()) / density.std(), abs=1e-4)
    quality = current.scores.mean(axis=1)
    assert survey.tail(Axis.LOW_QUALITY) == pytest.approx(-(quality - quality.mean()) / quality.std(ddof=1))
    assert survey.furthest() == pytest.approx(np.max([survey.tail(axis) for axis in Axis], axis=0))
    owned = np.sum([survey.selected[axis] for axis in Axis], axis=0)
    assert owned.tolist() == survey.selected_by_any.astype(int).tolist()


def test_a_row_that_could_not_be_measured_is_left_out():
    """It has no density and no neighbours, is nobody's neighbour, and is not selected."""
    loss = np.linspace(1, 2, COUNT)
    loss[7] = np.nan
    vectors = np.random.default_rng(2).normal(size=(COUNT, 8)).astype(np.float32)
    vectors[7] = 0
    survey = surveyed(measured(loss), measured(loss, prompts=vectors), RULES)
    assert np.isnan(survey.rows.density[7])
    assert (survey.neighbours.rows[7] == -1).all()
    assert not (survey.neighbours.rows == 7).any()
    assert not survey.selected_by_any[7]


def test_too_few_rows_are_refused():
    """Two neighbours need three rows."""
    with pytest.raises(ValueError, match="neighbours"):
        surveyed(measured([1.0, 2.0]), measured([1.0, 2.0]), RULES)


def test_the_report_tells_what_the_axes_found():
    """Damage that one axis sees perfectly has area 1 there; all figures are JSON, and every kind has its line."""
    kinds = [*Damage] * 4 + [None] * (COUNT - 4 * len(Damage))
    rows = [Row(Sample("d", f"s{place}", 0, "", (Message("user", "q"),)), kind) for place, kind in enumerate(kinds)]
    chance = np.random.default_rng(3)
    hit = np.array([kind is Damage.OFF_TOPIC for kind in kinds])
    base, current = (measured(chance.normal(1, 0.1, COUNT) + 3 * hit) for _ in range(2))
    survey = surveyed(base, current, RULES)
    figures = planted_figures(rows, survey, seed=0)
    off_topic = figures["auroc"][Damage.OFF_TOPIC.value]
    assert off_topic[Axis.HARD.value]["area"] == 1.0
    assert set(off_topic) == {*(axis.value for axis in Axis), COMBINED, DECISION}
    for kind, areas in figures["auroc"].items():
        right, wrong = (figures["selected"][name]["any"] / figures["selected"][name]["rows"] for name in (kind, "clean"))
        assert areas[DECISION]["area"] == pytest.approx((1 + right - wrong) / 2)  # that of a yes or no
    tails = np.max([survey.tail(axis) for axis in Axis], axis=0)
    clean = np.array([kind is None for kind in kinds])
    assert off_topic[COMBINED]["area"] == pytest.approx((tails[hit][:, None] > tails[clean]).mean())
    assert figures["selected"][Damage.OFF_TOPIC.value] | {"sparse": 0, "low_quality": 0} == {
        "hard": 4, "sparse": 0, "low_quality": 0, "any": 4, "rows": 4,
    }  # fmt: skip
    json.dumps(figures, allow_nan=False)
    shown = StringIO()
    Console(file=shown, width=120).print(planted_table(figures))
    assert all(kind.replace("_", " ") in shown.getvalue() for kind in Damage)
    assert "1.00-1.00" in shown.getvalue()
    heads = shown.getvalue().splitlines()[3]
    assert [head.strip() for head in heads.split("┃")[2:-2]] == [
        "hard",
        "sparse",
        "low quality",
        "furthest tail",
        "any axis, m=1",
    ]
