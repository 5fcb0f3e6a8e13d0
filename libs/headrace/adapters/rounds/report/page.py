"""The page: one HTML file that asks nothing of anybody else, and the same for the same numbers."""

from importlib import resources

from headrace.adapters.rounds.report import rewrite_sections, round_sections, selection_sections
from headrace.adapters.rounds.report.markup import CELL_CHARS_MAX, Section, paragraph
from headrace.adapters.rounds.report.wording import escaped, moment, number, plural, shortened, signed
from headrace.core.rounds.reasons import ROUND_MEANING, RoundReason
from headrace.core.rounds.report.contents import ReportData
from headrace.core.rounds.state import ENDED

_SECTIONS = (
    round_sections.versions,
    round_sections.phases,
    selection_sections.distributions,
    selection_sections.overlap,
    selection_sections.losses,
    selection_sections.embedding_map,
    rewrite_sections.counts,
    rewrite_sections.against_parents,
    rewrite_sections.gained,
    rewrite_sections.side_by_side,
    round_sections.costs,
    round_sections.held_out,
    round_sections.rules,
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may do for this page: show it."""


def render(data: ReportData) -> str:
    """The report as one HTML document, UTF-8. Foreign text is escaped; nothing is fetched and nothing runs."""
    sections = [section(data) for section in _SECTIONS]
    state = data.state
    title = f"{state.dataset_id}, round {state.ordinal}"
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{each.anchor}">{escaped(each.title)}</a>' for each in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style></head>\n<body>\n<header>"
        f"<h1>Round {state.ordinal} of {escaped(state.dataset_id)}</h1>"
        f"{_verdict(data)}{paragraph(_summary(data))}<nav>{links}</nav></header>\n"
        f"<main>\n{''.join(_section(each) for each in sections)}</main>\n"
        f"<footer>Round {escaped(state.round_id)}, as it stood {moment(state.updated_at)}. Times are UTC; losses are mean "
        "cross-entropies of answers in nats per token.</footer>\n</body></html>\n"
    )


def _section(section: Section) -> str:
    return f'<section id="{section.anchor}"><h2>{escaped(section.title)}</h2>\n{"".join(section.body)}</section>\n'


def _verdict(data: ReportData) -> str:
    state = data.state
    phase = state.phase.replace("_", " ")
    if state.reason in set(RoundReason):
        words = ROUND_MEANING[RoundReason(state.reason)]
    else:
        words = f"{phase}: {shortened(state.reason, CELL_CHARS_MAX)}" if state.reason else phase
    detail = paragraph(state.detail) if state.detail else ""
    amiss = paragraph(f"Begun all the same: {state.begun.trained_otherwise}.") if state.begun.trained_otherwise else ""
    return f'<div class="verdict {state.phase.value}">{escaped(words)}</div>{detail}{amiss}'


def _summary(data: ReportData) -> str:
    """The round in two or three sentences."""
    state = data.state
    parts = [f"{plural(state.begun.rows, 'row')} of version {number(state.begun.version_sequence)} surveyed"]
    if state.selected is not None:
        share = f" ({state.selected.total / state.begun.rows:.1%})" if state.begun.rows else ""
        parts.append(f"{state.selected.total:,} selected{share}")
    if state.rewrites.requested:
        parts.append(f"{sum(state.rewrites.accepted.values()):,} of {plural(state.rewrites.requested, 'rewrite')} accepted")
    if state.committed is not None:
        parts.append(f"version {number(state.committed.version_sequence)} with {plural(state.committed.rows_accepted, 'row')}")
    if state.held_out is not None:
        parts.append(f"held-out loss {signed(state.held_out.after - state.held_out.before)}")
    if state.phase not in ENDED:
        parts.append("the round has not ended: what follows is how it stands")
    return "; ".join(parts) + "."
