"""Numbers and foreign text as they stand on the page. Whatever comes from outside is escaped here."""

import html
import math
import re
from datetime import UTC, datetime

UNKNOWN = "unknown"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""What a page cannot hold, and what would turn the direction of the text after it."""

_SMALL, _LARGE = 1e-4, 1e15
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60
_TIMES_END = 253_402_300_800.0


def escaped(text: str) -> str:
    """Foreign text as HTML: markup is shown, never obeyed; control characters are replaced."""
    return html.escape(_CONTROLS.sub("\ufffd", text))


def shortened(text: str, chars_max: int) -> str:
    """The text, or its beginning and a sign that there is more."""
    return text if len(text) <= chars_max else f"{text[:chars_max]}\N{HORIZONTAL ELLIPSIS}"


def number(value: float | None, digits: int = 4) -> str:
    """A number to so many significant digits, all of those before the point; None is unknown, never zero."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    if size and (size < _SMALL or size >= _LARGE):
        text = f"{value:.{digits}g}"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
        text = f"{value:,.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if decimals else text
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    shown = number(value, 3)
    return shown if value is None or value <= 0 else f"+{shown}"


def percent(share: float | None) -> str:
    """A share, 0 to 1, in per cent."""
    if share is None:
        return UNKNOWN
    return f"{number(100 * share, 3)}%"


def moment(seconds: float | None) -> str:
    """A time, Unix seconds, in UTC."""
    if seconds is None or not 0 < seconds < _TIMES_END:
        return UNKNOWN
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None or seconds < 0:
        return UNKNOWN
    if seconds < _MINUTE_S:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    parts = (
        (whole // _DAY_S, "d"),
        (whole % _DAY_S // _HOUR_S, "h"),
        (whole % _HOUR_S // _MINUTE_S, "min"),
        (whole % _MINUTE_S, "s"),
    )
    first = next(place for place, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
