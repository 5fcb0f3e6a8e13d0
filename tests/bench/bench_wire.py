"""How many events a second one core decodes and encodes: `python -m tests.bench.bench_wire`."""

import time
from collections.abc import Callable
from dataclasses import replace

from headrace.adapters.wire.events import decode, encode
from headrace.core.dossiers import (
    CURRENT,
    AcceptedSample,
    Comparison,
    Cost,
    Decision,
    Dossier,
    DuplicateKind,
    Embeddings,
    Neighbour,
    Placement,
    ScoredSample,
    Signals,
    Verdict,
)
from headrace.core.samples import Message, Origin, Reference, Sample, content_hash_of

EVENTS = 10_000
ROUNDS = 7


def dossier() -> Dossier:
    """About 1 kB: a question, an answer, signals, a placement and a first decision."""
    messages = (
        Message("user", "What is the largest n such that n + 10 divides n^3 + 100? " * 5),
        Message("assistant", "n^3 + 100 = (n + 10)(n^2 - 10n + 100) - 900, so n + 10 divides 900. " * 5),
    )
    reference = Reference("890", "math")
    sample = Sample(
        "competition", "problem-7-answer-3", 0, content_hash_of(messages, "", reference), messages, "", reference,
        Origin(entry="grpc"), {"source": "bench", "model": "some-model"}, '{"row": 17}',
    )  # fmt: skip
    compared = (Comparison("loss_mean", 1.25, "<=", 3.0, held=True), Comparison("density", 0.8, "<=", 0.9, held=True))
    return Dossier(
        sample,
        1_767_225_600.25,
        (Signals(CURRENT, "smollm2", "1", 1.25, 0.5, 100, 200),),
        Placement(DuplicateKind.NONE, None, (Neighbour("a", 0, 0.9), Neighbour("b", 0, 0.8)), 0.85, 0, "smollm2", "1", 100, 7),
        (),
        (Decision(Verdict.VALIDATE, "checks_requested", "0123456789ab", compared, "", ("math",)),),
        (Cost("scoring", 0.1, 300, 0),),
    )


def main() -> None:
    """Prints the best of a few rounds for each step."""
    full = dossier()
    value = encode(full)
    read = decode(Dossier, value)
    assert isinstance(read, Dossier)
    added = replace(read, decisions=(*read.decisions, full.decisions[0]))
    changed = replace(read, signals=full.signals)
    scored = ScoredSample(full, Embeddings("smollm2", "1", bytes(4 * 576), bytes(4 * 576)))
    scored_value = encode(scored)
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(Dossier, value),
        "encode what was read": lambda: encode(read),
        "encode with a page added": lambda: encode(added),
        "encode with a page changed": lambda: encode(changed),
        "encode what was made here": lambda: encode(full),
        "decode and encode": lambda: encode(decode(Dossier, value)),
        "decode scored, 2 x 576 floats": lambda: decode(ScoredSample, scored_value),
        "encode scored, 2 x 576 floats": lambda: encode(scored),
        "encode accepted": lambda: encode(AcceptedSample(read)),
    }
    print(f"dossier of {len(value)} bytes")
    for name, step in steps.items():
        best = min(_seconds(step) for _ in range(ROUNDS))
        print(f"{name:30} {EVENTS / best:10,.0f} /s {best / EVENTS * 1e6:6.1f} us")


def _seconds(step: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(EVENTS):
        step()
    return time.process_time() - began


if __name__ == "__main__":
    main()
