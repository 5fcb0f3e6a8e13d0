"""What was measured and what was selected: distributions, overlap, losses before and after, the map."""

from collections.abc import Iterable

import numpy as np

from headrace.adapters.rounds.report.charts import histogram_chart, losses_chart, map_chart, overlap_chart
from headrace.adapters.rounds.report.markup import Guide, Html, Section, empty, guide, heading, legend, paragraph, picture, table
from headrace.adapters.rounds.report.palette import AXIS_WORDS, COLUMN_WORDS, OUTCOMES, Mark
from headrace.adapters.rounds.report.wording import number, percent, plural
from headrace.core.rounds.report.contents import CODE, Outcome, Points, ReportData
from headrace.core.rounds.rules import OWNERS, Axis, Mode
from headrace.core.rounds.tally import AxisOutcome, SelectionSummary
from headrace.core.rounds.thresholds import ColumnBound

_AXIS_GUIDES = {
    Axis.HARD: Guide(
        "How well each answer is predicted: by the base model, and by the model trained on this very dataset.",
        "Further right is harder. A row is hard where both losses lie right of their thresholds, in the tinted part; the "
        "coloured share of a bar was selected.",
        "A second hump at the right (a group of rows of another kind, or broken answers); a threshold left of the bulk; "
        "hardly any difference between the two models (the training did not take).",
    ),
    Axis.SPARSE: Guide(
        "How close each prompt lies to its nearest neighbours in the surveyed version.",
        "Further right is more crowded; 1 means copies. Rows left of the threshold stand alone, and each gains a neighbour.",
        "A spike at 1 (many copies: sparse rows are then defined by the copies); everything within a hair's breadth (the "
        "embedding does not tell prompts apart).",
    ),
    Axis.LOW_QUALITY: Guide(
        "The mean of six scores that the current model gives to prompt and answer as its own judge.",
        "Further left is worse. Rows left of the threshold were selected.",
        "Nearly all rows at one score (the judge does not discriminate); a mass at 0 (replies that could not be read "
        "count as the worst in mode middo_compat).",
    ),
}


def distributions(data: ReportData) -> Section:
    """Per axis the distribution, the threshold, and what it selected."""
    if data.selection is None:
        return Section("axes", "The three axes", (empty(_no_selection(data)),))
    body: list[Html] = [_rows_told(data, data.selection)]
    for axis in Axis:
        outcome = next((each for each in data.selection.axes if each.threshold.axis is axis), None)
        body.append(heading(f"Axis: {AXIS_WORDS[axis]}"))
        if outcome is None:
            body.append(empty("The policy leaves this axis out."))
        else:
            body += _axis(data, outcome)
    return Section("axes", "The three axes", tuple(body))


def overlap(data: ReportData) -> Section:
    """The seven ways to lie beyond thresholds."""
    title = "Overlap of the axes"
    if data.selection is None:
        return Section("overlap", title, (empty(_no_selection(data)),))
    compat = data.selection.rules.mode is Mode.MIDDO_COMPAT
    owners = ", then ".join(AXIS_WORDS[axis] for axis in OWNERS)
    rule = "each axis mends it on its own" if compat else f"one axis mends it: {owners}"
    words = Guide(
        "Rows that lie beyond exactly these thresholds and no other.",
        f"Coloured dots are the axes of a combination. Where a row lies beyond several, {rule}.",
        "Nearly all in one combination of several axes: the axes then measure the same thing, and one of them would do.",
    )
    if not any(data.selection.overlaps.values()):
        return Section("overlap", title, (empty("No row lies beyond any threshold."),))
    sizes = paragraph(
        f"If every rewrite is accepted the next version has {plural(data.selection.rows_after, 'row')}, "
        f"{data.selection.rows_after_held:,} with the scale held; the surveyed one has {data.selection.rows:,}."
    )
    return Section("overlap", title, (guide(words), picture(overlap_chart(data.selection.overlaps)), sizes))


def losses(data: ReportData) -> Section:
    """Base model's loss against the current model's."""
    title = "Loss before and after training"
    points = data.table.losses if data.table else None
    if points is None or not len(points.x):
        why = (
            _no_table(data)
            if data.table is None
            else "No row has both losses: the round measured no base model, or nothing at all."
        )
        return Section("losses", title, (empty(why),))
    words = Guide(
        "Each row's response loss under the base model (across) and under the model trained on the dataset (up).",
        "Below the dotted diagonal the training helped. The tinted corner beyond both thresholds is hard: it was not "
        "known before, and it was not learnt. ",
        "A cloud on the diagonal (nothing was learnt) or above it (the training did damage); a separate island in the corner, "
        "typical of wrong or shuffled answers.",
    )
    bounds = (
        {column.column: column.bound for axis in data.selection.axes for column in axis.threshold.bounds}
        if data.selection
        else {}
    )
    svg, outside = losses_chart(points, bounds)
    thinned = paragraph(_thinned("Rows that have both losses", len(points.x), points.rows) + _outside(outside))
    return Section("losses", title, (guide(words), _legend_of(points), picture(svg, square=True), thinned))


def embedding_map(data: ReportData) -> Section:
    """Where the prompts lie, and what became of them."""
    title = "Map of the prompts"
    shown = data.embedding_map
    if shown is None or not len(shown.points.x):
        return Section(
            "map",
            title,
            (empty("No prompt embeddings of this round are stored: the survey did not get so far, or they are gone."),),
        )
    total = sum(shown.explained)
    words = Guide(
        f"Prompt embeddings ({plural(shown.dimensions, 'dimension')}) in the two directions in which they differ most.",
        f"Near points ask for similar things. The two directions hold {percent(total)} of all variance: "
        "what lies apart here is apart, what lies together here may still be apart in the directions that are not drawn.",
        "Selected rows that fill one region of their own (a whole topic is being rewritten); additions far from every "
        "other point, or piled upon each other.",
    )
    fitted = plural(shown.fitted_on, "row")
    later = len(shown.points.x) - shown.fitted_on
    told = f"The plane is that of {fitted} of the surveyed version; accepted rewrites are placed into it. "
    drawn = _thinned("Rows", shown.fitted_on, shown.points.rows) + _thinned("Accepted rewrites", later, shown.rewrites)
    uneven = shown.fitted_on * shown.rewrites != later * shown.points.rows
    warning = "Rows and rewrites are not thinned alike: compare where they lie, not how many they are." if uneven else ""
    body = (guide(words), _legend_of(shown.points), picture(map_chart(shown), square=True), paragraph(told + drawn + warning))
    return Section("map", title, body)


def _axis(data: ReportData, outcome: AxisOutcome) -> Iterable[Html]:
    threshold = outcome.threshold
    yield guide(_AXIS_GUIDES[threshold.axis])
    for bound in threshold.bounds:
        histogram = data.table.histograms.get(bound.column) if data.table else None
        if histogram is None:
            yield empty(f"{COLUMN_WORDS[bound.column].capitalize()}: no row has this number." if data.table else _no_table(data))
            continue
        yield picture(histogram_chart(histogram, bound, threshold.axis))
        outside = histogram.below + histogram.above
        if outside:
            ends = f"from {number(histogram.least)} to {number(histogram.greatest)}"
            yield paragraph(f"{plural(outside, 'row lies', 'rows lie')} outside of the frame; all values go {ends}.")
        if bound.bound is not None and not histogram.frame.low <= bound.bound <= histogram.frame.high:
            yield paragraph(f"The threshold, {number(bound.bound)}, lies far outside of the frame.")
    yield _axis_table(outcome)
    if threshold.poisoned:
        yield paragraph(
            "Mode middo_compat met rows without a number: the moments are void and nothing is selected, as in the authors' code."
        )
    elif any(bound.std == 0 for bound in threshold.bounds):
        yield paragraph("The column is constant: nothing lies beyond any threshold.")


def _axis_table(outcome: AxisOutcome) -> Html:
    threshold = outcome.threshold
    asked = f"solved for a share of {percent(threshold.target_share)}" if threshold.target_share is not None else "given"
    rows = [(COLUMN_WORDS[bound.column], _bound_words(bound)) for bound in threshold.bounds]
    rows.append(("m", f"{number(threshold.m)} ({asked})" if threshold.m is not None else "none to be had"))
    if threshold.share_above is not None:
        rows.append(("next larger share there is", percent(threshold.share_above)))
    rows += [
        ("rows measured", number(threshold.rows_measured)),
        ("rows left out", f"{threshold.rows_left_out:,} (without a number, or not measured)"),
        ("rows beyond", f"{outcome.rows_beyond:,} ({percent(outcome.share)} of those measured)"),
        ("rows selected", f"{outcome.rows_selected:,}" + _others(outcome)),
    ]
    return table((), rows)


def _others(outcome: AxisOutcome) -> str:
    left = outcome.rows_beyond - outcome.rows_selected
    return f" (the other {left:,} are mended for another axis)" if left > 0 else ""


def _bound_words(bound: ColumnBound) -> str:
    spread = f"mean {number(bound.mean)}, std {number(bound.std)} ({'population' if bound.ddof == 0 else 'sample'})"
    if bound.bound is None:
        return f"{spread}; no threshold: too few rows for a deviation, or nothing to compare"
    side = "above" if bound.operator == ">" else "below"
    return f"{spread}; beyond the threshold is {side} {number(bound.bound, 6)}"


def _rows_told(data: ReportData, selection: SelectionSummary) -> Html:
    apart = f"{selection.rows_held_out:,} held out of training, which are never selected"
    absent = f"{selection.rows_not_made:,} without signals, {selection.rows_retracted:,} retracted since, {apart}"
    text = f"{plural(selection.rows, 'row')} surveyed, {absent}."
    reasons = data.table.not_made if data.table else {}
    if reasons:
        text += " Why there are no signals: " + "; ".join(f"{reason} ({count:,})" for reason, count in reasons.items()) + "."
    return paragraph(text)


def _legend_of(points: Points) -> Html:
    return legend(_counted(points))


def _counted(points: Points) -> Iterable[tuple[Mark, str]]:
    for outcome, mark in OUTCOMES.items():
        count = int(np.count_nonzero(points.outcome == CODE[outcome]))
        if count or outcome is Outcome.UNTOUCHED:
            yield mark, f"{mark.words} ({count:,})"


def _thinned(what: str, shown: int, rows: int) -> str:
    if shown >= rows:
        return f"{what}: {rows:,}, all of them drawn. "
    return f"{what}: {rows:,}, of which {shown:,} are drawn, chosen by chance with a fixed seed. "


def _outside(count: int) -> str:
    return f"{plural(count, 'point lies', 'points lie')} outside of the frame." if count else ""


def _no_selection(data: ReportData) -> str:
    if data.state.selected is not None:
        return "The thresholds were computed, but what was recorded of them cannot be read by this release."
    return f"No thresholds were computed: the round is {data.state.phase.replace('_', ' ')}{_because(data)}."


def _no_table(data: ReportData) -> str:
    if not data.state.begun.rows:
        return "The surveyed version has no rows."
    phase = data.state.phase.replace("_", " ")
    return f"The table of signals is not in the object store: it was not built before the round was {phase}, or it is gone."


def _because(data: ReportData) -> str:
    return f" ({data.state.reason})" if data.state.reason else ""
