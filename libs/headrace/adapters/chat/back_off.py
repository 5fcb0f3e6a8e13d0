"""How long to wait before a call is tried again."""

import math
import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

_DOUBLINGS_MAX = 30


def back_off_s(failures: int, s_min: float, s_max: float, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures (at least one): doubled each time, and half of it drawn by lot.

    Clients that failed together do not come back together.
    """
    whole = min(s_max, s_min * 2.0 ** min(failures - 1, _DOUBLINGS_MAX))
    return whole / 2 + draw() * whole / 2


def retry_after_s(header: str | None, now: float, s_max: float) -> float | None:
    """The wait that a Retry-After header asks for, seconds or a date (`now` is Unix seconds); None where it asks for none.

    It is cut at `s_max`: an endpoint does not decide how long we sleep.
    """
    if not header:
        return None
    seconds = _seconds(header.strip(), now)
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), s_max)


def _seconds(text: str, now: float) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):  # OverflowError: a year, or a zone, beyond all calendars
        return None
