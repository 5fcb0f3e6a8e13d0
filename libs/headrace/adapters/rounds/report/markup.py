"""The pieces of HTML a report is put together from. Text that comes in is escaped; `Html` is what was written here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NewType

from headrace.adapters.rounds.report.palette import Mark
from headrace.adapters.rounds.report.svg import swatch
from headrace.adapters.rounds.report.wording import escaped, shortened

Html = NewType("Html", str)

CELL_CHARS_MAX = 400
PARAGRAPH_CHARS_MAX = 4_000
"""Longest texts in a cell of a table and in a paragraph: names and errors come from outside, and may be of any length."""


@dataclass(frozen=True, slots=True)
class Guide:
    """What a stranger needs to know of a picture."""

    shows: str
    read: str
    alarming: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: `anchor` names it in the address."""

    anchor: str
    title: str
    body: tuple[Html, ...]


def guide(words: Guide) -> Html:
    """The three sentences beside a picture."""
    rows = (("What it shows", words.shows), ("How to read it", words.read), ("Alarming", words.alarming))
    return Html(f'<dl class="guide">{"".join(f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in rows)}</dl>')


def paragraph(text: str) -> Html:
    """Plain text."""
    return Html(f"<p>{escaped(shortened(text, PARAGRAPH_CHARS_MAX))}</p>")


def heading(text: str) -> Html:
    """The title of a part of a section."""
    return Html(f"<h3>{escaped(text)}</h3>")


def empty(why: str) -> Html:
    """What stands where a picture would, had there been anything to draw."""
    return Html(f'<p class="empty">{escaped(shortened(why, PARAGRAPH_CHARS_MAX))}</p>')


def picture(svg: str, *, square: bool = False) -> Html:
    """A figure that was drawn here."""
    return Html(svg.replace("<svg ", '<svg class="square" ', 1) if square else svg)


def legend(marks: Iterable[tuple[Mark, str]]) -> Html:
    """Each mark with its words."""
    items = "".join(f"<li>{swatch(mark.shape, mark.colour)}{escaped(words)}</li>" for mark, words in marks)
    return Html(f'<ul class="legend">{items}</ul>')


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> Html:
    """A table of texts; columns in `numbers` stand to the right. Without a head the first column names the rest."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(_cell(tag, text, at_right=place in numbers) for place, text in enumerate(row))

    top = f"<thead><tr>{cells('th', head)}</tr></thead>" if head else ""
    body = "".join(
        f"<tr>{cells('td', row) if head else _cell('th', row[0], at_right=False) + cells('td', row[1:])}</tr>" for row in rows
    )
    return Html(f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>')


def _cell(tag: str, text: str, *, at_right: bool) -> str:
    kind = " class=n" if at_right else ""
    return f"<{tag}{kind}>{escaped(shortened(text, CELL_CHARS_MAX))}</{tag}>"
