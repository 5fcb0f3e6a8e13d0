"""Small functions that write SVG: a figure with a frame, scales with round ticks, marks. No number is foreign text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace.adapters.rounds.report.palette import FAINT, INK, RULE
from headrace.adapters.rounds.report.wording import escaped

TICKS = 6
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_PLAIN_MIN, _PLAIN_MAX = 1e-4, 1e6
"""Steps and numbers that are written without a power of ten."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From numbers, `low` below `high`, to places on the figure."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = value / (self.high - self.low) - self.low / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers within the scale, about `TICKS` of them, and how to write them."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(each * power for each in _STEPS if each * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        places = [place * step for place in range(first, min(last, first + 4 * TICKS) + 1)]
        return [(place, _tick_words(place, step, max(abs(self.low), abs(self.high)))) for place in places]


@dataclass(slots=True)
class Figure:
    """Elements on a sheet of `width` by `height`; `title` is what a reader hears who does not see it."""

    title: str
    width: int = 680
    height: int = 320
    elements: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = RULE, width: float = 1.0, dash: str = "") -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.elements.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> None:
        if width > 0 and height > 0:
            faded = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
            self.elements.append(
                f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{colour}"{faded}/>'
            )

    def text(self, x: float, y: float, words: str, anchor: str = "start", colour: str = INK, *, turned: bool = False) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}"' + (f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else "")
        style = f'text-anchor="{anchor}" fill="{colour}" font-size="12"'
        self.elements.append(f"<text {place} {style}>{escaped(words)}</text>")

    def area(self, corners: Iterable[tuple[float, float]], colour: str, opacity: float) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.elements.append(f'<polygon points="{places}" fill="{colour}" fill-opacity="{opacity:g}"/>')

    def marks(self, places: Iterable[tuple[float, float]], shape: str, colour: str, size: float, opacity: float = 1.0) -> None:
        """Many points of one kind, in one element."""
        path = "".join(_MARKS[shape](x, y, size) for x, y in places)
        if path:
            filled = shape in _FILLED
            paint = (
                f'fill="{colour}" fill-opacity="{opacity:g}"' if filled else f'fill="none" stroke="{colour}" stroke-width="1.6"'
            )
            faded = "" if filled or opacity >= 1 else f' stroke-opacity="{opacity:g}"'
            self.elements.append(f'<path d="{path}" {paint}{faded}/>')

    def svg(self) -> str:
        words = escaped(self.title)
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{words}" '
            f'xmlns="http://www.w3.org/2000/svg"><title>{words}</title>{"".join(self.elements)}</svg>'
        )


@dataclass(frozen=True, slots=True)
class Plot:
    """A frame within a figure, with its two scales."""

    figure: Figure
    x: Scale
    y: Scale

    def vertical(self, value: float, words: str, colour: str = INK, dash: str = "5 3", row: int = 0) -> None:
        """A line at a number of the x scale, with its words above the frame; `row` keeps words apart."""
        x = self.x.at(value)
        self.figure.line(x, self.y.end, x, self.y.start, colour, 1.4, dash)
        at_end = x > (self.x.start + self.x.end) / 2
        self.figure.text(x + (3 if not at_end else -3), self.y.end - 5 - 14 * row, words, "end" if at_end else "start", colour)

    def horizontal(self, value: float, words: str) -> None:
        y = self.y.at(value)
        self.figure.line(self.x.start, y, self.x.end, y, INK, 1.4, "5 3")
        self.figure.text(self.x.end - 4, y - 4, words, "end")


MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 64, 16, 38, 48


def plot(
    figure: Figure, x: tuple[float, float], y: tuple[float, float], x_words: str, y_words: str, *, numbered: bool = True
) -> Plot:
    """A frame with ticks and the names of its scales; without numbers where these mean nothing."""
    across = Scale(*x, MARGIN_LEFT, figure.width - MARGIN_RIGHT)
    up = Scale(*y, figure.height - MARGIN_BOTTOM, MARGIN_TOP)
    for value, words in up.ticks() if numbered else ():
        figure.line(across.start, up.at(value), across.end, up.at(value))
        figure.text(across.start - 6, up.at(value) + 4, words, "end", FAINT)
    for value, words in across.ticks() if numbered else ():
        figure.line(across.at(value), up.start, across.at(value), up.start + 5, FAINT)
        figure.text(across.at(value), up.start + 18, words, "middle", FAINT)
    figure.line(across.start, up.start, across.end, up.start, FAINT)
    figure.line(across.start, up.start, across.start, up.end, FAINT)
    figure.text((across.start + across.end) / 2, figure.height - 10, x_words, "middle")
    figure.text(15, (up.start + up.end) / 2, y_words, "middle", turned=True)
    return Plot(figure, across, up)


def swatch(shape: str, colour: str) -> str:
    """A mark to stand in a line of text."""
    sheet = Figure("", 14, 14)
    sheet.marks([(7, 7)], shape, colour, 4.5)
    return f'<svg class="swatch" viewBox="0 0 14 14" aria-hidden="true">{"".join(sheet.elements)}</svg>'


def spread(values: Sequence[float], room: float = 0.04) -> tuple[float, float]:
    """The least and the greatest value with some room around; a width of its own where they are the same."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    width = high - low
    if width <= 1e-9 * max(abs(low), abs(high), 1.0):
        width = max(abs(low), 1.0)
        return low - width / 10, high + width / 10
    return low - room * width, high + room * width


def _tick_words(value: float, step: float, largest: float) -> str:
    """A tick with as many digits as tell it from its neighbours."""
    finest = math.floor(math.log10(step) + 1e-9)
    finest -= not math.isclose(step, round(step / 10.0**finest) * 10.0**finest)  # steps of 2.5
    if step >= _PLAIN_MIN and largest < _PLAIN_MAX:
        return f"{value + 0.0:,.{max(0, -finest)}f}".replace("-", "\N{MINUS SIGN}")
    digits = max(0, math.floor(math.log10(abs(value))) - finest) if value else 0
    return f"{value:.{digits}e}".replace("-", "\N{MINUS SIGN}")


def _dot(x: float, y: float, size: float) -> str:
    r = round(size * 0.72, 1)
    return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 1 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 1 {-2 * r:.1f} 0z"


def _ring(x: float, y: float, size: float) -> str:
    return _dot(x, y, 1.2 * size)


def _triangle(x: float, y: float, size: float) -> str:
    return f"M{x:.1f} {y - size:.1f}l{size:.1f} {1.75 * size:.1f}h{-2 * size:.1f}z"


def _diamond(x: float, y: float, size: float) -> str:
    return (
        f"M{x:.1f} {y - 1.1 * size:.1f}l{size:.1f} {1.1 * size:.1f}l{-size:.1f} {1.1 * size:.1f}l{-size:.1f} {-1.1 * size:.1f}z"
    )


def _square(x: float, y: float, size: float) -> str:
    side = 1.6 * size
    return f"M{x - side / 2:.1f} {y - side / 2:.1f}h{side:.1f}v{side:.1f}h{-side:.1f}z"


def _cross(x: float, y: float, size: float) -> str:
    return f"M{x - size:.1f} {y - size:.1f}l{2 * size:.1f} {2 * size:.1f}m0 {-2 * size:.1f}l{-2 * size:.1f} {2 * size:.1f}"


def _plus(x: float, y: float, size: float) -> str:
    return f"M{x - 1.2 * size:.1f} {y:.1f}h{2.4 * size:.1f}M{x:.1f} {y - 1.2 * size:.1f}v{2.4 * size:.1f}"


_MARKS = {
    "dot": _dot, "ring": _ring, "triangle": _triangle, "diamond": _diamond, "square": _square, "cross": _cross, "plus": _plus,
}  # fmt: skip
_FILLED = {"dot", "triangle", "diamond", "square"}
