"""What became of the rewrites: numbers against their parents', what was gained, and some of them in full."""

import math
from collections import Counter
from collections.abc import Iterable

from headrace.adapters.rounds.report.charts import gains_chart, rewrites_chart
from headrace.adapters.rounds.report.markup import (
    CELL_CHARS_MAX,
    Guide,
    Html,
    Section,
    empty,
    guide,
    heading,
    legend,
    paragraph,
    picture,
    table,
)
from headrace.adapters.rounds.report.palette import AXIS_WORDS, GAIN_WORDS, VERDICTS
from headrace.adapters.rounds.report.wording import escaped, number, plural, shortened, signed
from headrace.core.reasons import MEANING, Reason
from headrace.core.rounds.report.contents import Exchange, ReportData, RewriteNumbers, RewriteShown
from headrace.core.rounds.report.gains import CONFIDENCE, RESAMPLES, gain_of
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.spending import not_asked_for
from headrace.core.rounds.state import RoundState

_REASONS_MAX = 20
_POINTS_MAX = 3_000


def counts(data: ReportData) -> Section:
    """How many rewrites there were, and how they ended."""
    title = "Rewrites"
    told = data.state.rewrites
    if not told.requested:
        return Section("rewrites", title, (empty(_none_asked(data)),))
    rows = [
        (AXIS_WORDS[axis], *(f"{ended.get(axis, 0):,}" for ended in (told.accepted, told.rejected, told.not_made)))
        for axis in Axis
    ]
    ends = table(("axis", "accepted", "rejected", "not made"), rows, numbers=(1, 2, 3))
    open_still = max(0, told.requested - told.ended)
    words = f"{plural(told.requested, 'rewrite')} asked for, {told.attempts:,} attempts made" + (
        f", {len(told.lost):,} among the dead letters" if told.lost else ""
    )
    words += f", {open_still:,} without an end." if open_still else "."
    return Section("rewrites", title, (paragraph(words), ends, *_why_none(data), *_reasons(data)))


def against_parents(data: ReportData) -> Section:
    """Each rewrite's number against its parent's."""
    title = "Rewrites against their parents"
    if data.rewrites is None or not data.rewrites.seen:
        return Section("pairs", title, (empty(_none_read(data)),))
    words = Guide(
        "Each attempt that was decided: its parent's number across, its own up, both measured by the same model version.",
        "On the dotted diagonal nothing changed. Hard rows should fall below it (a lower loss); sparse and low-quality "
        "ones should rise above it. Parents were chosen for a bad number, so some gain is to be expected from chance alone.",
        "Accepted ones on the wrong side (the comparison is broken); all just past the diagonal (rewrites that do hardly "
        "anything); a column of points at one parent (the same row over and over).",
    )
    body: list[Html] = [guide(words), legend((mark, mark.words) for mark in VERDICTS.values())]
    for axis in Axis:
        of_axis = [each for each in data.rewrites.seen if each.axis is axis]
        known = [each for each in of_axis if each.parent is not None and each.own is not None]
        if not of_axis:
            continue
        body.append(heading(f"Axis: {AXIS_WORDS[axis]}"))
        drawn = known[:: math.ceil(len(known) / _POINTS_MAX)] if known else []
        body.append(picture(rewrites_chart(axis, drawn), square=True) if drawn else empty("No attempt has both numbers."))
        if len(drawn) < len(known):
            body.append(paragraph(f"Of {len(known):,} attempts {len(drawn):,} are drawn, evenly spaced by sample id."))
        if len(known) < len(of_axis):
            body.append(
                paragraph(f"{plural(len(of_axis) - len(known), 'attempt lacks', 'attempts lack')} one of the two numbers.")
            )
    if data.rewrites.attempts > len(data.rewrites.seen):
        body.append(paragraph(f"Of {data.rewrites.attempts:,} attempts the first {len(data.rewrites.seen):,} were read."))
    return Section("pairs", title, tuple(body))


def gained(data: ReportData) -> Section:
    """Mean gains, accepted against rejected."""
    title = "What was gained on each axis"
    if not data.gains:
        return Section("gains", title, (empty(_none_read(data)),))
    words = Guide(
        "By how much attempts beat their parents on the axis they were made for, on average.",
        f"Right of zero is better than the parent. Bars are {CONFIDENCE:.0%} intervals ({RESAMPLES:,} bootstrap resamples, fixed "
        "seed). A rewrite is only accepted if it beats its parent, so part of the difference is there by construction: "
        "what counts is the size of the accepted ones' gain.",
        "An interval of the accepted ones that touches zero; rejected ones that gained as much (they were turned away "
        "for another reason: see the reasons above).",
    )
    body: list[Html] = [guide(words)]
    for gains in data.gains:
        body += [heading(f"Axis: {AXIS_WORDS[gains.axis]} ({GAIN_WORDS[gains.axis]})"), picture(gains_chart(gains))]
    return Section("gains", title, tuple(body))


def side_by_side(data: ReportData) -> Section:
    """Some rewrites beside their parents."""
    title = "Some rewrites in full"
    if data.rewrites is None or not data.rewrites.shown:
        return Section("examples", title, (empty(_none_read(data)),))
    words = paragraph(
        f"{plural(len(data.rewrites.shown), 'attempt')} of {data.rewrites.attempts:,}, chosen by chance with a fixed seed "
        "for each axis and verdict, not for how they look. Text is cut where it is long. A rewrite of a sparse row does "
        "not replace it."
    )
    return Section("examples", title, (words, *(_article(each) for each in data.rewrites.shown)))


def _article(shown: RewriteShown) -> Html:
    seen = shown.seen
    verdict = "accepted" if seen.accepted else f"rejected: {_meaning(seen.reason) or seen.reason}"
    head = f"{AXIS_WORDS[seen.axis]}, attempt {seen.attempt} of at most {shown.attempts_max}, {verdict}"
    numbers = f"Parent {number(seen.parent)}, rewrite {number(seen.own)}"
    gain = gain_of(seen.axis, seen.parent, seen.own)
    numbers += f", gain {signed(gain)} ({GAIN_WORDS[seen.axis]}). " if gain is not None else ". "
    money = f"{number(shown.money)} {shown.currency}".rstrip() if shown.money is not None else "money unknown"
    spent = f"Cost: {plural(shown.tokens, 'token')}, {money}." if shown.tokens is not None else f"Cost: tokens unknown, {money}."
    compared = "; ".join(
        f"{each.quantity} {number(each.value)} {each.operator} {number(each.bound)}: {'held' if each.held else 'did not hold'}"
        for each in shown.comparisons
    )
    if (judged := shown.judged) is not None:
        both = f"parent {number(judged.parent_quality)}, rewrite {number(judged.quality)}"
        numbers += f"Quality as {shortened(judged.model, CELL_CHARS_MAX)} judges it: {both}. "
    details = [numbers + spent, *([f"Compared: {compared}."] if compared else []), *([shown.detail] if shown.detail else [])]
    kind = ' class="accepted"' if seen.accepted else ""
    head = shortened(head, CELL_CHARS_MAX)
    name = shortened(f"{seen.sample_id} revision {seen.revision}, from {seen.parent_id}", CELL_CHARS_MAX)
    return Html(
        f"<article{kind}><h4>{escaped(head)}</h4><div class=hash>{escaped(name)}</div>"
        f"{''.join(paragraph(each) for each in details)}"
        f'<div class="pair">{_side("parent", shown.parent)}{_side("rewrite", shown.rewrite)}</div></article>'
    )


def _side(who: str, exchange: Exchange) -> str:
    cut = "<p>Cut.</p>" if exchange.cut else ""
    return (
        f"<div><h5>{who}: prompt</h5><pre class=sample dir=auto>{escaped(exchange.prompt) or '(empty)'}</pre>"
        f"<h5>{who}: answer</h5><pre class=sample dir=auto>{escaped(exchange.response) or '(empty)'}</pre>{cut}</div>"
    )


def _why_none(data: ReportData) -> Iterable[Html]:
    """Why rewrites came to nothing in the end, each reason with what one of them said."""
    found = sorted(data.state.rewrites.reasons, key=lambda each: (-each.count, each.ending, each.reason))[:_REASONS_MAX]
    if found:
        yield heading("Why rewrites were not made, or rejected")
        yield table(
            ("ending", "reason", "rewrites", "one of them"),
            [(each.ending.replace("_", " "), each.reason, f"{each.count:,}", each.example) for each in found],
            numbers=(2,),
        )
    if never := not_asked_for(data.state):
        yield paragraph(f"{plural(never, 'row')} of the selection {'was' if never == 1 else 'were'} never begun.")


def _reasons(data: ReportData) -> Iterable[Html]:
    if data.rewrites is None or not data.rewrites.seen:
        yield paragraph(_none_read(data))
        return
    found = Counter(each.reason for each in data.rewrites.seen).most_common(_REASONS_MAX)
    yield paragraph(_where_read(data.state, data.rewrites))
    yield heading("Reasons of the decisions, attempt by attempt")
    yield table(
        ("reason", "attempts", "meaning"),
        [(reason, f"{count:,}", _meaning(reason)) for reason, count in found],
        numbers=(1,),
    )


def _meaning(reason: str) -> str:
    """What a reason means; of one that this release does not know, nothing."""
    return MEANING[Reason(reason)] if reason in set(Reason) else ""


def _none_asked(data: ReportData) -> str:
    if data.state.selected is None:
        return f"No rewrite was asked for: the round is {data.state.phase.replace('_', ' ')} and came to no selection."
    if not data.state.selected.total:
        return "No rewrite was asked for: nothing was selected."
    why = f" ({data.state.reason})" if data.state.reason else ""
    return f"No rewrite was asked for, though {plural(data.state.selected.total, 'row was', 'rows were')} selected{why}."


def _where_read(state: RoundState, found: RewriteNumbers) -> str:
    """Where the attempts below were found, and how many of them are not there."""
    places = " and ".join(f"{where} ({count:,})" for where, count in found.read_from.items())
    told = f"What follows is of {plural(found.attempts, 'attempt')} decided, read from {places}."
    decided = _decided(state)
    if found.last < decided:
        told += f" They end {found.last:,} of the {plural(decided, 'rewrite')} that were decided: {_elsewhere(state)}."
    return told + _unread(found)


def _decided(state: RoundState) -> int:
    return sum(state.rewrites.accepted.values()) + sum(state.rewrites.rejected.values())


def _elsewhere(state: RoundState) -> str:
    """What may have become of those that are not there."""
    if state.committed is not None:
        return "the others were replaced, taken back or forgotten"
    return "the others are not staged yet, or were replaced, taken back or forgotten"


def _unread(found: RewriteNumbers) -> str:
    if not found.unread:
        return ""
    return f" Not looked through: {plural(found.unread, 'version')} cut since the survey, pruned or too many to read."


def _none_read(data: ReportData) -> str:
    state = data.state
    if not state.rewrites.requested:
        return _none_asked(data)
    if data.rewrites is None:
        return "Rewrites are read from the round's new version, which is no longer kept."
    if state.committed is not None:
        return "The round's new version has no row that was rewritten in it."
    told = "No attempt is in a version that was cut since the survey, or staged for the next one: "
    decided = _decided(state)
    told += f"{plural(decided, 'rewrite was', 'rewrites were')} decided; {_elsewhere(state)}." if decided else "none was decided."
    return told + _unread(data.rewrites)
