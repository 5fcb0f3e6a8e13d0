"""Drawing: scales and ticks, marks, and text that stays text."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.rounds.report import charts
from headrace.adapters.rounds.report.palette import OUTCOMES, VERDICTS
from headrace.adapters.rounds.report.svg import Figure, Scale, spread
from headrace.adapters.rounds.report.wording import duration, escaped, moment, number, percent, plural, signed
from headrace.core.rounds.report.contents import EmbeddingMap, HeldOutOfRound, Points, RewriteSeen
from headrace.core.rounds.report.distributions import HistogramCount, frame_of
from headrace.core.rounds.report.gains import gains_on
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import HeldOutMeasured, Phase
from headrace.core.rounds.thresholds import ColumnBound


def elements(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - drawn a line above


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_few_and_told_apart(low, width):
    """Ticks lie within the scale, are neither one nor many, and no two of them read the same."""
    high = low + max(width, 1e-6 * abs(low))
    scale = Scale(low, high, 0, 100)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 14
    assert all(low - 1e-6 * (high - low) <= value <= high + 1e-6 * (high - low) for value, _ in ticks)
    assert len({words for _, words in ticks}) == len(ticks)
    assert all(first < second for (first, _), (second, _) in pairwise(ticks))
    assert scale.at(low) == pytest.approx(0, abs=1e-4)
    assert scale.at(high) == pytest.approx(100, abs=1e-4)


@given(st.lists(st.floats(-1e100, 1e100), max_size=5))
def test_a_spread_has_a_width(values):
    """No values, one value or equal ones still make a scale."""
    low, high = spread(values)
    assert low < high
    assert all(low <= value <= high for value in values)


def test_foreign_text_is_escaped_everywhere():
    """Markup, control characters and marks that turn the direction of text are shown, never obeyed."""
    assert escaped("<b>&\"'\x00\u202e\ud800ok\n") == "&lt;b&gt;&amp;&quot;&#x27;\ufffd\ufffd\ufffdok\n"
    figure = Figure("<script>")
    figure.text(1, 2, "</svg><script>")
    assert "<script>" not in figure.svg()
    assert elements(figure.svg())[1].text == "</svg><script>"


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "unknown"), (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (-0.5, "\N{MINUS SIGN}0.5"), (0.0004, "0.0004"),
     (2.13451, "2.135"), (123456.7, "123,457"), (3e-7, "3e\N{MINUS SIGN}07"), (1e100, "1e+100"), (0.05, "0.05"), (10, "10")],
)  # fmt: skip
def test_numbers_read_well(value, words):
    """Significant digits, thousands apart, no zeros that say nothing, and unknown stays unknown."""
    assert number(value) == words


def test_times_and_counts_read_well():
    """Lengths of time in two units, shares in per cent, times in UTC."""
    assert [duration(seconds) for seconds in (0, 2.5, 61, 3_600, 90_061, None, -1)] == [
        "0 s", "2.5 s", "1 min 1 s", "1 h", "1 d 1 h", "unknown", "unknown",
    ]  # fmt: skip
    assert duration(59.99) == "60 s"
    assert [percent(share) for share in (None, 0.0, 0.0123, 0.5)] == ["unknown", "0%", "1.23%", "50%"]
    assert moment(1_795_000_000.0) == "2026-11-18 11:06:40 UTC"
    assert moment(1e30) == moment(None) == "unknown"
    assert [plural(1, "row"), plural(2_000, "row"), plural(0, "entry", "entries")] == ["1 row", "2,000 rows", "0 entries"]
    assert [signed(0.5), signed(-0.5), signed(0.0)] == ["+0.5", "\N{MINUS SIGN}0.5", "0"]


def bound(value: float | None) -> ColumnBound:
    return ColumnBound("loss_post", 1.0, 0.5, 0, ">", value)


@pytest.mark.parametrize("column", [[1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1e90], list(np.linspace(0, 4, 500))])
def test_histograms_of_any_column_are_drawn(column):
    """One row, a constant column and a wild tail give a picture with bars, and lines only where the frame reaches."""
    values = np.array(column)
    frame = frame_of(values, values.min(), values.max(), [1.5])
    assert frame is not None
    count = HistogramCount(frame)
    count.add(values, values > 1.5)
    for limit in (1.5, 1e99, None):
        svg = charts.histogram_chart(count.histogram(), bound(limit), Axis.HARD)
        assert elements(svg).findall("{http://www.w3.org/2000/svg}rect")
        assert ("threshold" in svg) == (limit == 1.5 and frame.low <= 1.5 <= frame.high)
        assert not re.search("nan|inf", svg)


def test_scatters_say_what_lies_outside():
    """A wild point is left out of the frame and counted; the others are drawn."""
    x = np.r_[np.linspace(0, 1, 400), 1e6]
    svg, outside = charts.losses_chart(Points(x, x, np.zeros(401, np.int8), 401), {"loss_pre": 0.5, "loss_post": 0.5})
    assert outside == 1
    assert svg.count("threshold 0.5") == 2
    lone, none = charts.losses_chart(Points(np.ones(1), np.ones(1), np.zeros(1, np.int8), 1), {})
    assert none == 0
    elements(lone)


def test_the_map_keeps_the_proportions():
    """A unit is as long across as up, and a point alone is drawn too."""
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    svg = charts.map_chart(EmbeddingMap(Points(square[:, 0], square[:, 1], np.zeros(4, np.int8), 4), (0.5, 0.5), 4, 8))
    [path] = re.findall(r'<path d="([^"]+)"', svg)
    places = np.array([[float(each) for each in pair] for pair in re.findall(r"M([\d.]+) ([\d.]+)", path)])
    across, up = np.ptp(places, axis=0)
    assert across == pytest.approx(up, rel=0.01)
    elements(charts.map_chart(EmbeddingMap(Points(np.zeros(1), np.zeros(1), np.zeros(1, np.int8), 1), (0.0, 0.0), 1, 8)))


def test_the_other_pictures_are_drawn_of_one_thing_too():
    """A single rewrite, a single gain, a single round, an empty overlap."""
    seen = RewriteSeen("a", 1, "b revision 0", Axis.HARD, 1, True, "accepted", 2.0, 1.0)
    for svg in (
        charts.rewrites_chart(Axis.HARD, [seen]),
        charts.gains_chart(gains_on(Axis.HARD, [0.5], [])),
        charts.held_out_chart([HeldOutOfRound(1, "r", Phase.KEPT, HeldOutMeasured(2.0, 2.0, 1))]),
        charts.overlap_chart({}),
    ):
        elements(svg)


def test_no_two_kinds_look_alike():
    """Colours and shapes both differ: either is enough to tell kinds apart."""
    for marks in (OUTCOMES.values(), VERDICTS.values()):
        assert len({mark.colour for mark in marks}) == len({mark.shape for mark in marks}) == len(marks)
