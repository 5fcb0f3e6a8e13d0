"""One full example of every event body: every field set, so that a field forgotten by the codec is seen."""

import struct
from dataclasses import replace
from typing import Any

from headrace.core.budgets import Spend
from headrace.core.chat import Hindrance, KeptReply, NotMade, Reply
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
    VersionPart,
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
    EndpointJudgement,
    Gate,
    IndexedSample,
    Judgement,
    Neighbour,
    Placement,
    PolicyPublished,
    Retraction,
    Rewrite,
    ScoredSample,
    Signals,
    Verdict,
)
from headrace.core.retractions import RetractionRequested
from headrace.core.rounds.counts import PutOff, ReasonCount, RewriteCounts, RowCounts
from headrace.core.rounds.facts import (
    Action,
    CheckpointMeasures,
    Cut,
    DeadlinePassed,
    DensitiesMade,
    Ending,
    RestorationEnded,
    RewriteEnded,
    RewritesRequested,
    RoundAsked,
    RoundCommitted,
    RoundProgressed,
    RoundStarted,
    RowLost,
    RowsEvicted,
    RowsMeasured,
    RowsReverted,
    RowsSelected,
    RowsSent,
)
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Awaited, HeldOutMeasured, PassedPhase, Phase, RevertCounts, RoundState, RoundTimer
from headrace.core.rounds.surveys import (
    DensityRequested,
    EvictionRequested,
    Judge,
    MeasuredSample,
    Purpose,
    RefinementRequested,
    RefiningRequested,
    RevertRequested,
    RoundStepRequested,
    SelectionRequested,
    Survey,
    SurveyedSample,
    SurveyRequested,
)
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
    origin=Origin(OriginKind.REFINED, ("problem-6", "problem-5"), "tables", "2", "round-1", "hard", "grpc", "round-0"),
    attributes={"topic": "multiplication", "level": "easy"},
    metadata_json='{"row": 17}',
)
SUBMITTED = Dossier(SAMPLE, NOON)
JUDGEMENT = Judgement("logits", "ab" * 32, 7.5, 6.25, 5.5, 4.0, 8.5, 3.25, "only a part of it")
SIGNALS = Signals(CURRENT, "smollm2-135m", "1", 1.25, 0.5, 31, 9, judgement=JUDGEMENT)
SIGNALS_NOT_MADE = Signals("base", "base-model", "4", None, None, 0, 0, truncated=True, error="loss was not finite")
PLACEMENT = Placement(
    DuplicateKind.NEAR, Neighbour("problem-1", 2, 0.9995), (Neighbour("problem-1", 2, 0.99), Neighbour("problem-2", 0, -0.25)),
    0.37, 4, "smollm2-135m", "1", 12_345, 77, 0.875,
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
GATE = Gate("headrace", "generated", 0.75, "drop", judge_rewrites=True)
SPENT = (Spend(60, 0.25, "answerer"), Spend(30, None, "refiner"))
REWRITE = Rewrite(
    "round-1", 1, Axis.HARD, 2, 3, replace(SAMPLE, revision=0), 2.5, "smollm2-135m", "1", struct.pack("<4f", 0.5, 0.5, 0.5, 0.5),
    3.25, 0.5, 4.75, ("What is 6 times 8?",), 4_096, 0.25, "not_better: 3.5 is not below 3.25", COSTS,
    "78" * 32, adds=True, row=12, gate=GATE, sent_back=True, roles_allowed=(Spend(2_048, 0.125, "answerer"),), roles_spent=SPENT,
    judged=EndpointJudgement(6.25, 7.5, "judge-1", "judge.v1"),
)  # fmt: skip
DOSSIER = Dossier(SAMPLE, NOON, (SIGNALS, SIGNALS_NOT_MADE), PLACEMENT, CHECKS, DECISIONS, COSTS, REWRITE)
EMBEDDINGS = Embeddings("smollm2-135m", "1", struct.pack("<4f", 0.5, 0.5, 0.5, 0.5), struct.pack("<4f", 1, 0, 0, 0))

SURVEY = Survey(
    "arithmetic", "round-1", Purpose.ROUND, "9f" * 32, "smollm2-135m", "2", "base-model", "1", Judge.LOGITS, 0.125, "seed",
    base_from="round-0", plain_prompts=True,
)  # fmt: skip
STARTED = RoundStarted(SURVEY, 5, 100, "0123456789ab", "{}", "ada", NOON, "ab" * 32, "it has seen nothing of maths")
SELECTED = RowsSelected(Purpose.ROUND, 7, 5, 3, '{"hard":{}}', "34" * 32, 1.5, 10, 1.75, 20, 6)
COUNTS = RowCounts(
    100, all_sent=True, measured=98, not_made=1, lost=("problem-1/0",), tokens=12_000, seconds=60.5, returned=("problem-2/0",)
)
FACTS = (
    STARTED,
    RoundAsked(Action.FREEZE, "the judge looks wrong", "ada", "dead-letter-1"),
    RowsSent(Purpose.ROUND, 50, complete=True),
    RowsMeasured(Purpose.EVALUATION, 50, 1, 6_000, 30.5, "problem-2/0"),
    RowLost(Purpose.ROUND, "problem-1", 2, "scoring", "ModelMissing: version 2", Axis.HARD),
    DensitiesMade(50, complete=True),
    SELECTED,
    RewritesRequested(15, complete=True),
    RewriteEnded(
        Axis.SPARSE,
        "problem-7",
        Ending.REJECTED,
        "not_better",
        2,
        900,
        0.0125,
        parent_model_written=True,
        adds=True,
        detail="density is 0.5",
        tokens_needed=2_668,
        money_needed=0.5,
        row=12,
        sent_back=True,
        roles_spent=SPENT,
        roles_needed=(Spend(2_000, None, "answerer"),),
    ),
    RowsEvicted(4),
    RoundCommitted("8e" * 32, 6, 104, Cut.STANDING),
    CheckpointMeasures("ab" * 32, "3", "golden loss too high", "8e" * 32),
    DeadlinePassed(3),
    RowsReverted(7, 2, complete=True),
    RestorationEnded("problem-7", 34, accepted=True, reason="accepted"),
)
STATE = RoundState(
    dataset_id="arithmetic", round_id="round-1", ordinal=2, phase=Phase.FROZEN, begun=STARTED, transition=4, phase_since=NOON,
    updated_at=NOON + 1, deadline=NOON + 60, reason="model_written_share", detail="0.6 of 100 rows", frozen_in=Phase.COMMITTING,
    rows=COUNTS, held_out_rows=COUNTS, densities_made=True, selected=SELECTED,
    rewrites=RewriteCounts(
        15, all_requested=True, accepted={"hard": 3}, rejected={"sparse": 4}, not_made={"low_quality": 1}, attempts=20,
        tokens=9_000, money=0.125, cost_unknown=2, lost=("problem-3/hard",), rows_asked=15, tokens_charged=11_000,
        money_charged=0.25, tokens_allowed_each=1_000, money_allowed_each=0.0625, near_duplicates=1, human_replaced=2,
        human_unmended=3, model_unmended=1, returned=("problem-2/hard",), beside=1,
        put_off=(PutOff(12, Axis.HARD, 2_668, 0.5, (Spend(2_000, 0.25, "answerer"),)),), page_rows=5, not_begun=2,
        reasons=(ReasonCount(Ending.NOT_MADE, "invalid", 1, "no new prompt between the marks"),), roles_spent=SPENT,
        roles_charged=(Spend(300, 0.5, "answerer"),), roles_allowed_each=(Spend(500, None, "answerer"),),
    ),
    evicted=4, committed=RoundCommitted("8e" * 32, 6, 104), checkpoint=CheckpointMeasures("ab" * 32, "3", "refused", "8e" * 32),
    held_out=HeldOutMeasured(1.5, 1.25, 10), passed=(PassedPhase(Phase.SURVEYING, NOON - 60),),
    awaits=Awaited.GUARDS, waived=("human_rows",), dead_letters=("dead-letter-1",),
    revert=RevertCounts(
        Phase.ROLLED_BACK, "held_out_rose", "1.5 to 1.6", evicting=True, standing=RoundCommitted("8e" * 32, 7, 104, Cut.STANDING),
        version=RoundCommitted("7d" * 32, 8, 100, Cut.REVERTED), restoring=7, retracted=2, found=3, all_found=True, restored=4,
        refused={"stale_revision": 1}, lost=("problem-3/34",), returned=("problem-4/34",),
    ),
)  # fmt: skip
STEPS = (
    SurveyRequested(SURVEY, 1, 500, "problem-7"),
    DensityRequested(SURVEY, 1_024, 2_048, 2),
    SelectionRequested(SURVEY, 100, "{}"),
    RefiningRequested(SURVEY, 10, 5, 2, 2, 4_096, 0.25, (11, 13), GATE, (Spend(2_048, None, "answerer"),)),
    EvictionRequested(SURVEY, 4),
    RevertRequested(SURVEY, "8e" * 32, "problem-7"),
)

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
    "DatasetCommitted": DatasetCommitted("arithmetic", "9f" * 32, 5, "arithmetic/versions/5.json", 100, 20, NOON, "cut-1"),
    "CheckpointPublished": CheckpointPublished(
        "signals",
        "ab" * 32,
        "checkpoints/signals/ab.json",
        CheckpointKind.ADAPTER,
        (CheckpointFile("adapter_model.safetensors", "cd" * 32, 1024), CheckpointFile("adapter_config.json", "ef" * 32, 64)),
        "SmolLM2-135M-Instruct",
        "12" * 32,
        TrainingData(
            "arithmetic",
            "9f" * 32,
            (PositionRange(2, 5, 17, (1, 3), 9),),
            0.125,
            "seed",
            100,
            14,
            (VersionPart((0, 3), (1, 2), (4, 5)), VersionPart((1, 3))),
            streamed=True,
        ),
        NOON,
        '{"learning_rate":0.001}',
        {"loss": 1.25, "seconds": 60.0},
        "run-1",
    ),
    "CheckpointRolledOut": CheckpointRolledOut(
        "signals", "ab" * 32, "2", "1", 1.5, 576, 12.5, 4.25, NOON, 1.75, "rollback-1", "cd" * 32
    ),
    "CheckpointRefused": CheckpointRefused("signals", "ab" * 32, RefusedStep.VERIFY, "the hash is wrong", NOON, "rollback-1"),
    "RollbackRequested": RollbackRequested("signals", "rollback-1", "ab" * 32, "ada"),
    "SurveyedSample": SurveyedSample(SURVEY, SAMPLE, (SIGNALS_NOT_MADE,)),
    "MeasuredSample": MeasuredSample(
        SURVEY,
        "problem-7",
        3,
        SAMPLE.content_hash,
        "12" * 32,
        "refined",
        "56" * 32,
        (SIGNALS,),
        EMBEDDINGS,
        COSTS[0],
        sent_back=True,
        plain_prompt=EMBEDDINGS.prompt,
    ),
    "RefinementRequested": RefinementRequested(REWRITE),
    "RoundTimer": RoundTimer("arithmetic", "round-1", 4),
    "RoundState": STATE,
    **{f"RoundStepRequested.{type(step).__name__}": RoundStepRequested(step) for step in STEPS},
    **{f"RoundProgressed.{type(fact).__name__}": RoundProgressed("arithmetic", "round-1", fact) for fact in FACTS},
    "KeptReply": KeptReply("ab" * 32, "refiner", "smollm2", "round-1", Reply("Write: 6 times 7?", COSTS[1], "smollm2:1", "stop")),
    "KeptReply.not_made": KeptReply("cd" * 32, "judge", "smollm2", "", NotMade(Hindrance.CUT_OFF, "64 tokens", COSTS[0])),
}
"""Every body type at least once, under a name that sorts and files well."""
