"""The pictures of a report."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from headrace.adapters.rounds.report.palette import (
    ACCEPTED,
    AXIS_COLOUR,
    AXIS_WORDS,
    COLUMN_WORDS,
    FAINT,
    GREY,
    INK,
    NUMBER_WORDS,
    OUTCOMES,
    PARENT_WORDS,
    REJECTED,
    VERDICTS,
)
from headrace.adapters.rounds.report.svg import Figure, Plot, Scale, plot, spread
from headrace.adapters.rounds.report.wording import number, percent, signed
from headrace.core.rounds.moments import Floats
from headrace.core.rounds.report.contents import CODE, EmbeddingMap, HeldOutOfRound, Outcome, Points, RewriteSeen
from headrace.core.rounds.report.distributions import Histogram, frame_of
from headrace.core.rounds.report.gains import AxisGains, Estimate
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.selection import COMBINATIONS
from headrace.core.rounds.thresholds import ColumnBound

_HEADROOM = 1.06
_SHADE = 0.10
_SQUARE = (560, 480)
_MARK_SIZES = ((40, 5.0), (600, 3.6))
_SMALL_MARK = 2.4
"""Up to so many points are drawn so large; more of them small."""


def histogram_chart(histogram: Histogram, bound: ColumnBound | None, axis: Axis) -> str:
    """One column: all rows in grey, those selected for the axis in its colour, mean and threshold as lines."""
    figure = Figure(f"Histogram of {COLUMN_WORDS.get(bound.column, '') if bound else AXIS_WORDS[axis]}")
    frame = (histogram.frame.low, histogram.frame.high)
    words = COLUMN_WORDS.get(bound.column, "") if bound else ""
    drawn = plot(figure, frame, (0, _HEADROOM * max([*histogram.counts, 1])), words, "rows in each bar")
    colour = AXIS_COLOUR[axis]
    edges = np.linspace(drawn.x.start, drawn.x.end, len(histogram.counts) + 1)
    if bound is not None and (shown := _within(bound.bound, frame)) is not None:
        _shade_beyond(drawn, shown, bound.operator, colour)
    for left, right, count, chosen in zip(edges[:-1], edges[1:], histogram.counts, histogram.chosen, strict=True):
        for height, paint in ((count, GREY), (chosen, colour)):
            top = drawn.y.at(height)
            figure.box(float(left) + 0.5, top, float(right - left) - 1, drawn.y.start - top, paint)
    if bound is not None:
        _lines(drawn, bound, frame)
    return figure.svg()


def _shade_beyond(drawn: Plot, bound: float, operator: str, colour: str) -> None:
    at = drawn.x.at(bound)
    left, right = (at, drawn.x.end) if operator == ">" else (drawn.x.start, at)
    drawn.figure.box(left, drawn.y.end, right - left, drawn.y.start - drawn.y.end, colour, _SHADE)


def _lines(drawn: Plot, bound: ColumnBound, frame: tuple[float, float]) -> None:
    if (mean := _within(bound.mean, frame)) is not None:
        drawn.vertical(mean, f"mean {number(mean)}", FAINT, "2 3", row=1)
    if (threshold := _within(bound.bound, frame)) is not None:
        drawn.vertical(threshold, f"threshold {number(threshold)}")


def overlap_chart(overlaps: Mapping[str, int]) -> str:
    """How many rows lie beyond exactly which thresholds: a bar for each of the seven combinations."""
    figure = Figure("Overlap of the three axes", height=48 + 28 * len(COMBINATIONS))
    first, left = 40, 250
    for place, axis in enumerate(Axis):
        figure.text(46 + 76 * place, 24, AXIS_WORDS[axis], "middle", AXIS_COLOUR[axis])
    scale = Scale(0, max([*overlaps.values(), 1]), left, figure.width - 70)
    for row, name in enumerate(COMBINATIONS):
        y, count = first + 28 * row + 10, overlaps.get(name, 0)
        within = [place for place, axis in enumerate(Axis) if axis in name.split("+")]
        figure.line(46 + 76 * within[0], y, 46 + 76 * within[-1], y, INK, 2)
        for place, axis in enumerate(Axis):
            inside = place in within
            figure.marks([(46 + 76 * place, y)], "dot", AXIS_COLOUR[axis] if inside else "#e3e6ea", 8)
        figure.box(left, y - 9, scale.at(count) - left, 18, AXIS_COLOUR[Axis(name)] if len(within) == 1 else FAINT)
        figure.text(scale.at(count) + 6, y + 4, number(count))
    return figure.svg()


def losses_chart(points: Points, bounds: Mapping[str, float | None]) -> tuple[str, int]:
    """Base model against current model; the second value is how many of the points lie outside of the frame."""
    x, y = _framed(points.x, bounds.get("loss_pre")), _framed(points.y, bounds.get("loss_post"))
    figure = Figure("Response loss before against after training", *_SQUARE)
    drawn = plot(figure, x, y, COLUMN_WORDS["loss_pre"], COLUMN_WORDS["loss_post"])
    pre, post = _within(bounds.get("loss_pre"), x), _within(bounds.get("loss_post"), y)
    if post is not None:
        left = drawn.x.at(pre) if pre is not None else drawn.x.start
        top, bottom = drawn.y.end, drawn.y.at(post)
        figure.box(left, top, drawn.x.end - left, bottom - top, AXIS_COLOUR[Axis.HARD], _SHADE)
    if (pre, post) != (bounds.get("loss_pre"), bounds.get("loss_post")):
        figure.text(drawn.x.end, 14, "a threshold lies far outside of the frame", "end")
    low, high = max(x[0], y[0]), min(x[1], y[1])
    if low < high:
        figure.line(drawn.x.at(low), drawn.y.at(low), drawn.x.at(high), drawn.y.at(high), FAINT, 1, "2 3")
    if pre is not None:
        drawn.vertical(pre, f"threshold {number(pre)}")
    if post is not None:
        drawn.horizontal(post, f"threshold {number(post)}")
    outside = _scatter(drawn, points, quiet=frozenset({Outcome.SPARSE, Outcome.LOW_QUALITY}))
    return figure.svg(), outside


def map_chart(shown: EmbeddingMap) -> str:
    """The embeddings in their plane, both directions in the same unit."""
    figure = Figure("Map of the prompt embeddings", *_SQUARE)
    x, y = spread(shown.points.x.tolist()), spread(shown.points.y.tolist())
    bare = plot(Figure("", *_SQUARE), x, y, "", "", numbered=False)
    unit = max((x[1] - x[0]) / (bare.x.end - bare.x.start), (y[1] - y[0]) / (bare.y.start - bare.y.end))
    x = _widened(x, unit * (bare.x.end - bare.x.start))
    y = _widened(y, unit * (bare.y.start - bare.y.end))
    first, second = (percent(each) for each in shown.explained)
    drawn = plot(figure, x, y, f"first direction ({first} of the variance)", f"second direction ({second})", numbered=False)
    _scatter(drawn, shown.points)
    return figure.svg()


def rewrites_chart(axis: Axis, rewrites: Sequence[RewriteSeen]) -> str:
    """The parent's number against the rewrite's, accepted and rejected apart; the diagonal is no change."""
    pairs = [(each.parent, each.own, each.accepted) for each in rewrites if each.parent is not None and each.own is not None]
    both = spread([value for parent, own, _ in pairs for value in (parent, own)])
    figure = Figure(f"Rewrites for being {AXIS_WORDS[axis]}: parent against rewrite", *_SQUARE)
    drawn = plot(figure, both, both, f"the parent: {PARENT_WORDS[axis]}", f"the rewrite: {NUMBER_WORDS[axis]}")
    below = axis is Axis.HARD
    corner = (drawn.x.end, drawn.y.start) if below else (drawn.x.start, drawn.y.end)
    figure.area([(drawn.x.start, drawn.y.start), (drawn.x.end, drawn.y.end), corner], ACCEPTED, _SHADE)
    figure.line(drawn.x.start, drawn.y.start, drawn.x.end, drawn.y.end, FAINT, 1.2, "2 3")
    side = "below" if below else "above"
    figure.text(drawn.x.start, drawn.y.end - 10, f"tinted, {side} the diagonal: better than the parent", colour=ACCEPTED)
    for accepted in (False, True):
        mark = VERDICTS[accepted]
        places = [(drawn.x.at(parent), drawn.y.at(own)) for parent, own, verdict in pairs if verdict is accepted]
        figure.marks(places, mark.shape, mark.colour, 3.2)
    return figure.svg()


def gains_chart(gains: AxisGains) -> str:
    """Mean gain of accepted and of rejected rewrites, and their difference, with intervals; zero is no gain."""
    rows: list[tuple[str, Estimate | None, str]] = [
        (f"accepted ({gains.accepted_rows:,})", gains.accepted, ACCEPTED),
        (f"rejected ({gains.rejected_rows:,})", gains.rejected, REJECTED),
        ("accepted less rejected", gains.difference, INK),
    ]
    known = [each for _, each, _ in rows if each is not None]
    ends = [value for each in known for value in (each.mean, each.low, each.high) if value is not None]
    figure = Figure(f"Gains on the axis {AXIS_WORDS[gains.axis]}", height=152)
    scale = Scale(*spread([0.0, *ends]), 190, figure.width - 96)
    for value, words in scale.ticks():
        figure.line(scale.at(value), 12, scale.at(value), 116)
        figure.text(scale.at(value), 132, words, "middle", FAINT)
    figure.line(scale.at(0), 8, scale.at(0), 118, INK, 1.4)
    figure.text((scale.start + scale.end) / 2, 149, "mean gain, positive for the better", "middle")
    for row, (words, estimate, colour) in enumerate(rows):
        y = 32 + 32 * row
        figure.text(180, y + 4, words, "end")
        if estimate is None:
            figure.text(scale.at(0) + 8, y + 4, "none measured", colour=FAINT)
            continue
        if estimate.low is not None and estimate.high is not None:
            figure.line(scale.at(estimate.low), y, scale.at(estimate.high), y, colour, 3)
        figure.marks([(scale.at(estimate.mean), y)], "dot", colour, 7)
        figure.text(figure.width - 88, y + 4, signed(estimate.mean), colour=colour)
    return figure.svg()


def held_out_chart(rounds: Sequence[HeldOutOfRound]) -> str:
    """Held-out loss before and after each round that measured it."""
    measured = [(each.ordinal, each.held_out) for each in rounds if each.held_out is not None]
    figure = Figure("Held-out loss by round")
    ordinals = [ordinal for ordinal, _ in measured]
    losses = [value for _, loss in measured for value in (loss.before, loss.after)]
    x = (min(ordinals) - 0.5, max(ordinals) + 0.5)
    drawn = plot(figure, x, spread(losses, 0.12), "", "held-out loss, nats per token", numbered=False)
    for value, words in drawn.y.ticks():
        figure.line(drawn.x.start, drawn.y.at(value), drawn.x.end, drawn.y.at(value))
        figure.text(drawn.x.start - 6, drawn.y.at(value) + 4, words, "end", FAINT)
    every = max(1, len(measured) // 12)
    for place, (ordinal, loss) in enumerate(measured):
        before, after = (
            (drawn.x.at(ordinal - 0.16), drawn.y.at(loss.before)),
            (drawn.x.at(ordinal + 0.16), drawn.y.at(loss.after)),
        )
        colour = ACCEPTED if loss.after <= loss.before else REJECTED
        figure.line(*before, *after, colour, 2)
        figure.marks([before], "ring", colour, 4)
        figure.marks([after], "dot", colour, 6)
        if place % every == 0:
            figure.text(drawn.x.at(ordinal), drawn.y.start + 18, f"round {ordinal}", "middle", FAINT)
    return figure.svg()


def _framed(values: Floats, bound: float | None) -> tuple[float, float]:
    """Most of the values and the bound where it is near, with some room: single wild ones do not squeeze the rest."""
    marks = [] if bound is None else [bound]
    frame = frame_of(values, float(values.min()), float(values.max()), marks) if len(values) else None
    return spread(marks if frame is None else [frame.low, frame.high])


def _within(value: float | None, ends: tuple[float, float]) -> float | None:
    """The value, if the frame shows it."""
    return value if value is not None and ends[0] <= value <= ends[1] else None


def _widened(ends: tuple[float, float], width: float) -> tuple[float, float]:
    middle = (ends[0] + ends[1]) / 2
    return middle - width / 2, middle + width / 2


def _scatter(drawn: Plot, points: Points, quiet: Collection[Outcome] = ()) -> int:
    """Draw what lies within the frame, kind by kind, the common ones first; tell how many points lie outside.

    Kinds in `quiet` are not what the picture is about: they are drawn smaller and fainter.
    """
    inside = (points.x >= drawn.x.low) & (points.x <= drawn.x.high) & (points.y >= drawn.y.low) & (points.y <= drawn.y.high)
    size = next((size for count, size in _MARK_SIZES if np.count_nonzero(inside) <= count), _SMALL_MARK)
    for outcome, mark in OUTCOMES.items():
        chosen = inside & (points.outcome == CODE[outcome])
        places = [
            (drawn.x.at(x), drawn.y.at(y)) for x, y in zip(points.x[chosen].tolist(), points.y[chosen].tolist(), strict=True)
        ]
        if outcome in quiet:
            drawn.figure.marks(places, mark.shape, mark.colour, 0.75 * size, 0.4)
        else:
            untouched = outcome is Outcome.UNTOUCHED
            drawn.figure.marks(places, mark.shape, mark.colour, size, 0.7 if untouched else 0.85)
    return int(np.count_nonzero(~inside))
