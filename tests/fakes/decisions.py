"""Decided and indexed samples for tests of datasets, small but complete."""

import struct

from headrace.core.dossiers import (
    CURRENT,
    Decision,
    Dossier,
    DuplicateKind,
    Embeddings,
    IndexedSample,
    Neighbour,
    Placement,
    Signals,
    Verdict,
)
from headrace.core.reasons import Reason
from headrace.core.retractions import RetractionRequested
from headrace.core.samples import Message, Reference, Sample, ToolCall, content_hash_of, prompt_hash_of
from headrace.core.staged import Place

DATASET = "maths"
DECIDED = "decided/00002"
INDEXED = "indexed/00001"
RETRACTED = "retracted/00000"


def sample(sample_id: str, revision: int = 0, *, dataset_id: str = DATASET, text: str = "") -> Sample:
    messages = (
        Message("user", f"What is {sample_id} times {revision}? {text}"),
        Message("assistant", "", tool_calls=(ToolCall("call-1", "multiply", '{"a": 6}'),)),
        Message("tool", "42", tool_call_id="call-1", name="multiply"),
        Message("assistant", "42"),
    )
    reference = Reference(answer="42", verifier="math")
    return Sample(
        dataset_id, sample_id, revision, content_hash_of(messages, "", reference), messages,
        reference=reference, attributes={"topic": "multiplication", "level": "1"}, metadata_json='{"page": 3}',
    )  # fmt: skip


def dossier(sample_id: str, revision: int = 0, reason: Reason = Reason.ACCEPTED, **of_sample) -> Dossier:
    verdict = Verdict.ACCEPTED if reason is Reason.ACCEPTED else Verdict.REJECTED
    duplicate = Neighbour("other", 0, 0.9995) if reason is Reason.NEAR_DUPLICATE else None
    kind = DuplicateKind.NEAR if duplicate else DuplicateKind.NONE
    return Dossier(
        sample(sample_id, revision, **of_sample),
        submitted_at=1_700_000_000.25,
        signals=(Signals(CURRENT, "smol", "3", 1.5, 0.5, 12, 3),),
        placement=Placement(kind, duplicate, (), 0.5, 0, "smol", "3", 10),
        decisions=(Decision(verdict, reason, "p1"),),
    )


def place(offset: int, stream: str = DECIDED) -> Place:
    return Place(stream, offset, 1_700_000_100.5)


def retraction(sample_id: str, revision: int = 0, *, dataset_id: str = DATASET) -> RetractionRequested:
    return RetractionRequested(dataset_id, sample_id, revision, "licence", f"request-{sample_id}-{revision}", "ada", "a textbook")


def indexed(
    sample_id: str, revision: int = 0, *, dimensions: int = 4, version: str = "3", dataset_id: str = DATASET
) -> IndexedSample:
    of = sample(sample_id, revision, dataset_id=dataset_id)
    vector = struct.pack(f"<{dimensions}f", *(1.0 if n == revision % dimensions else 0.0 for n in range(dimensions)))
    return IndexedSample(
        dataset_id, sample_id, revision, of.content_hash, Embeddings("smol", version, vector, vector), prompt_hash_of(of)
    )
