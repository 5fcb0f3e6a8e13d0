"""One full example of every event body: every field set, so that a field forgotten by the codec is seen."""

import struct
from typing import Any

from headrace.core.checkpoints import (
    CheckpointFile,
    CheckpointKind,
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    PositionRange,
    RefusedStep,
    RollbackRequested,
    TrainingData,
)
from headrace.core.dossiers import (
    CURRENT,
    AcceptedSample,
    CheckOutcome,
    CheckResult,
    Comparison,
    Cost,
    DatasetCommitted,
    DatasetCutRequested,
    Decision,
    Dossier,
    DuplicateKind,
    Embeddings,
    IndexedSample,
    Neighbour,
    Placement,
    PolicyPublished,
    Retraction,
    ScoredSample,
    Signals,
    Verdict,
)
from headrace.core.retractions import RetractionRequested
from headrace.core.samples import Message, Origin, OriginKind, Reference, Sample, ToolCall, content_hash_of

NOON = 1_767_225_600.25
"""A fixed time, Unix seconds."""

MESSAGES = (
    Message("system", "You solve problems. Antworte auf Deutsch: ä ö ü ß, 数学, \U0001f9ee."),
    Message("user", "What is 6 times 7?", name="ada"),
    Message("assistant", "", tool_calls=(ToolCall("call-1", "multiply", '{"a": 6, "b": 7}'),)),
    Message("tool", "42", tool_call_id="call-1"),
    Message("assistant", "It is 42."),
)
TOOLS_JSON = '[{"type":"function","function":{"name":"multiply"}}]'
REFERENCE = Reference("42", "math", '{"type":"integer"}', ("assert answer == 42",), "Says 42.", ("6 * 7 = 42",))
SAMPLE = Sample(
    dataset_id="arithmetic",
    id="problem-7",
    revision=3,
    content_hash=content_hash_of(MESSAGES, TOOLS_JSON, REFERENCE),
    messages=MESSAGES,
    tools_json=TOOLS_JSON,
    reference=REFERENCE,
    origin=Origin(OriginKind.REFINED, ("problem-6", "problem-5"), "tables", "2", "round-1", "hard", "grpc"),
    attributes={"topic": "multiplication", "level": "easy"},
    metadata_json='{"row": 17}',
)
SUBMITTED = Dossier(SAMPLE, NOON)
SIGNALS = Signals(CURRENT, "smollm2-135m", "1", 1.25, 0.5, 31, 9)
SIGNALS_NOT_MADE = Signals("base", "base-model", "4", None, None, 0, 0, truncated=True, error="loss was not finite")
PLACEMENT = Placement(
    DuplicateKind.NEAR, Neighbour("problem-1", 2, 0.9995), (Neighbour("problem-1", 2, 0.99), Neighbour("problem-2", 0, -0.25)),
    0.37, 4, "smollm2-135m", "1", 12_345, 77,
)  # fmt: skip
CHECKS = (
    CheckResult("math", CheckOutcome.PASSED, "42 = 42", "ab" * 32, 1.0),
    CheckResult("schema", CheckOutcome.FAILED, "not an integer", "cd" * 32),
    CheckResult("constraints", CheckOutcome.NOT_MADE, "no tokenizer", "ef" * 32),
)
DECISIONS = (
    Decision(Verdict.VALIDATE, "checks_requested", "0123456789ab", checks_requested=("math", "schema", "constraints")),
    Decision(
        Verdict.REJECTED, "check_failed", "0123456789ab",
        (Comparison("loss_mean", 1.25, "<=", 4.0, held=True), Comparison("density", None, "<=", 0.9, held=True)),
        "schema: not an integer",
    ),
)  # fmt: skip
COSTS = (Cost("scoring", 0.125, 40, 0), Cost("judge", None, None, 12, 0.003, "EUR"))
DOSSIER = Dossier(SAMPLE, NOON, (SIGNALS, SIGNALS_NOT_MADE), PLACEMENT, CHECKS, DECISIONS, COSTS)
EMBEDDINGS = Embeddings("smollm2-135m", "1", struct.pack("<4f", 0.5, 0.5, 0.5, 0.5), struct.pack("<4f", 1, 0, 0, 0))

BODIES: dict[str, Any] = {
    "Sample": SAMPLE,
    "Dossier": DOSSIER,
    "Dossier.submitted": SUBMITTED,
    "ScoredSample": ScoredSample(DOSSIER, EMBEDDINGS, NOON + 1, 77, 70, NOON + 2),
    "ScoredSample.not_made": ScoredSample(SUBMITTED, None),
    "IndexedSample": IndexedSample("arithmetic", "problem-7", 3, SAMPLE.content_hash, EMBEDDINGS, "12" * 32),
    "AcceptedSample": AcceptedSample(DOSSIER),
    "AcceptedSample.retracted": AcceptedSample(Retraction("arithmetic", "problem-7", 3, "contaminated")),
    "RetractionRequested": RetractionRequested("arithmetic", "problem-7", 3, "licence", "request-1", "ada", "from a textbook"),
    "PolicyPublished": PolicyPublished("arithmetic", "0123456789ab", "{}", NOON),
    "DatasetCutRequested": DatasetCutRequested("arithmetic", "cut-1", "ada"),
    "DatasetCommitted": DatasetCommitted("arithmetic", "9f" * 32, 5, "arithmetic/versions/5.json", 100, 20, NOON),
    "CheckpointPublished": CheckpointPublished(
        "signals",
        "ab" * 32,
        "checkpoints/signals/ab.json",
        CheckpointKind.ADAPTER,
        (CheckpointFile("adapter_model.safetensors", "cd" * 32, 1024), CheckpointFile("adapter_config.json", "ef" * 32, 64)),
        "SmolLM2-135M-Instruct",
        "12" * 32,
        TrainingData("arithmetic", "9f" * 32, (PositionRange(2, 5, 17),), 0.125, "seed", 100, 14),
        NOON,
        '{"learning_rate":0.001}',
        {"loss": 1.25, "seconds": 60.0},
        "run-1",
    ),
    "CheckpointRolledOut": CheckpointRolledOut("signals", "ab" * 32, "2", "1", 1.5, 576, 12.5, 4.25, NOON, 1.75, "rollback-1"),
    "CheckpointRefused": CheckpointRefused("signals", "ab" * 32, RefusedStep.VERIFY, "the hash does not match", NOON),
    "RollbackRequested": RollbackRequested("signals", "rollback-1", "ab" * 32, "ada"),
}
"""Every body type at least once, under a name that sorts and files well."""
