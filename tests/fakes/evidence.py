"""Dossiers with just the evidence a test is about."""

from headrace.core.dossiers import (
    CURRENT,
    CheckOutcome,
    CheckResult,
    Decision,
    Dossier,
    DuplicateKind,
    Neighbour,
    Placement,
    Signals,
    Verdict,
)
from headrace.core.events import Event, Position
from headrace.core.samples import Message, Reference, Sample

DATASET = "arithmetic"


def sample(response: str = "It is 42.", reference: Reference | None = None, sample_id: str = "one") -> Sample:
    """A question and its answer."""
    messages = (Message("user", "What is 6 times 7?"), Message("assistant", response))
    return Sample(DATASET, sample_id, 0, "hash of another text", messages, reference=reference)


def signals(loss: float | None = 1.0, *, response_tokens: int = 5, truncated: bool = False, error: str = "") -> Signals:
    """What the current model says."""
    return Signals(CURRENT, "model", "1", loss, 0.1, 10, response_tokens, truncated, error)


def placement(
    kind: DuplicateKind = DuplicateKind.NONE,
    cosine: float | None = None,
    density: float | None = None,
    prompt_copies: int = 0,
) -> Placement:
    """Where it lies; a cosine names the sample that it duplicates."""
    twin = Neighbour("twin", 2, cosine) if cosine is not None else None
    return Placement(kind, twin, (), density, prompt_copies, "model", "1", 7)


def dossier(
    response: str = "It is 42.",
    *,
    reference: Reference | None = None,
    scored: Signals | None = None,
    placed: Placement | None = None,
    checks: tuple[CheckResult, ...] = (),
    decisions: tuple[Decision, ...] = (),
    sample_id: str = "one",
) -> Dossier:
    """A scored and placed sample to whose evidence nothing can be objected, unless it is given."""
    return Dossier(
        sample(response, reference, sample_id),
        1_000.0,
        signals=(scored or signals(),),
        placement=placed or placement(),
        checks=checks,
        decisions=decisions,
    )


def asked_for(*checks: str) -> Decision:
    """The decision by which admission asks for checks."""
    return Decision(Verdict.VALIDATE, "checks_requested", "0123456789ab", checks_requested=checks)


def outcome(check: str, found: CheckOutcome, ruler: str = "ruler") -> CheckResult:
    """A check's result."""
    return CheckResult(check, found, f"{check} {found}", ruler)


def event(body: Dossier, attempt: int = 1) -> Event[Dossier]:
    """The dossier as a handler is given it."""
    return Event("event", "topic", body.sample.key, body, 1_000.0, Position("topic", 0, 0), attempt)
