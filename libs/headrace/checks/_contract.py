"""What a check is given and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.core.dossiers import CheckOutcome

CPU_S_MAX = 5
"""Most processor time, in seconds, that a policy may give to a check of one sample."""
QUICK_BYTES_MAX = 4_096
"""Work that takes time linear in its texts is done where it is asked for up to so many bytes of UTF-8, which is 2 ms at most,
whatever the texts are; with longer ones it goes to a worker, which can be killed."""
EVIDENCE_CHARS_MAX = 1_000
"""Evidence is for people and travels in every later event: this much of it, the middle left out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: the outcome, and the evidence a person would want to read."""

    outcome: CheckOutcome
    evidence: str
    score: float | None = None


def passed(evidence: str, score: float | None = None) -> Finding:
    """The sample holds what the check asks for."""
    return Finding(CheckOutcome.PASSED, evidence, score)


def failed(evidence: str, score: float | None = None) -> Finding:
    """The sample does not hold what the check asks for."""
    return Finding(CheckOutcome.FAILED, evidence, score)


def not_made(evidence: str) -> Finding:
    """The check could not be made, and trying again would not help: it says nothing about the sample."""
    return Finding(CheckOutcome.NOT_MADE, evidence)


def found(reply: Mapping[str, Any]) -> Finding:
    """What a worker found: the reply of a task that names an outcome."""
    return Finding(CheckOutcome(reply["outcome"]), str(reply["evidence"]))


class LimitReached(Exception):
    """The work asked for more time or memory than it may have. The same work would again: a check that is not made."""


class WorkerLost(Exception):
    """The worker died, stalled or was late for a reason that is not known to be the work's: worth another try."""


class WorkersGone(Exception):
    """No worker can be started: nothing is known about any sample."""


class Workers(Protocol):
    """Runs work that may run away in processes that can be killed."""

    async def run(self, task: str, request: Mapping[str, Any], cpu_s_max: float) -> Mapping[str, Any]:
        """The reply of a task (`headrace.checks._<task>_task`) to a request; both are JSON objects.

        Raises:
            LimitReached: it took more than `cpu_s_max` seconds of processor time, or more memory than a worker may have.
            WorkerLost: the worker died or stalled.
            WorkersGone: no worker can be started.
        """
        ...


def is_short(*texts: str) -> bool:
    """Whether the texts have at most `QUICK_BYTES_MAX` bytes together."""
    return sum(len(text.encode(errors="surrogatepass")) for text in texts) <= QUICK_BYTES_MAX


def readable(text: str, chars_max: int = EVIDENCE_CHARS_MAX) -> str:
    """The text as it can be shown: harmless to a terminal, a log line or a wire format, and not too long.

    Control, format and lone surrogate characters become escapes; what is longer than `chars_max` loses its middle.
    """
    if len(text) > chars_max:
        half = chars_max // 2
        text = f"{text[: half - 1]} … {text[-half + 2 :]}"
    safe = text
    if not text.isprintable():
        safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return safe if len(safe) <= chars_max else safe[: chars_max - 1] + "…"
