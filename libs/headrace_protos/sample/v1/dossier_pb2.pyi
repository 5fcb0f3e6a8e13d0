import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_protos.sample.v1 import sample_pb2 as _sample_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_OUTCOME_UNSPECIFIED: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_PASSED: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_FAILED: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_NOT_MADE: _ClassVar[CheckOutcome]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_ACCEPTED: _ClassVar[Verdict]
    VERDICT_REJECTED: _ClassVar[Verdict]
    VERDICT_VALIDATE: _ClassVar[Verdict]
    VERDICT_PARKED: _ClassVar[Verdict]
CHECK_OUTCOME_UNSPECIFIED: CheckOutcome
CHECK_OUTCOME_PASSED: CheckOutcome
CHECK_OUTCOME_FAILED: CheckOutcome
CHECK_OUTCOME_NOT_MADE: CheckOutcome
VERDICT_UNSPECIFIED: Verdict
VERDICT_ACCEPTED: Verdict
VERDICT_REJECTED: Verdict
VERDICT_VALIDATE: Verdict
VERDICT_PARKED: Verdict

class Judgement(_message.Message):
    __slots__ = ("mode", "prompt_factuality", "prompt_clarity", "prompt_completeness", "response_factuality", "response_clarity", "response_completeness", "ruler_hash", "error")
    MODE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FACTUALITY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CLARITY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FACTUALITY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CLARITY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    RULER_HASH_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    mode: str
    prompt_factuality: float
    prompt_clarity: float
    prompt_completeness: float
    response_factuality: float
    response_clarity: float
    response_completeness: float
    ruler_hash: str
    error: str
    def __init__(self, mode: _Optional[str] = ..., prompt_factuality: _Optional[float] = ..., prompt_clarity: _Optional[float] = ..., prompt_completeness: _Optional[float] = ..., response_factuality: _Optional[float] = ..., response_clarity: _Optional[float] = ..., response_completeness: _Optional[float] = ..., ruler_hash: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class Signals(_message.Message):
    __slots__ = ("role", "model", "model_version", "loss_mean", "loss_std", "prompt_tokens", "response_tokens", "truncated", "error", "judgement")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LOSS_MEAN_FIELD_NUMBER: _ClassVar[int]
    LOSS_STD_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    role: str
    model: str
    model_version: str
    loss_mean: float
    loss_std: float
    prompt_tokens: int
    response_tokens: int
    truncated: bool
    error: str
    judgement: Judgement
    def __init__(self, role: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., loss_mean: _Optional[float] = ..., loss_std: _Optional[float] = ..., prompt_tokens: _Optional[int] = ..., response_tokens: _Optional[int] = ..., truncated: _Optional[bool] = ..., error: _Optional[str] = ..., judgement: _Optional[_Union[Judgement, _Mapping]] = ...) -> None: ...

class Embeddings(_message.Message):
    __slots__ = ("model", "model_version", "prompt", "conversation")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    prompt: bytes
    conversation: bytes
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., prompt: _Optional[bytes] = ..., conversation: _Optional[bytes] = ...) -> None: ...

class Neighbour(_message.Message):
    __slots__ = ("sample_id", "revision", "cosine")
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    sample_id: str
    revision: int
    cosine: float
    def __init__(self, sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., cosine: _Optional[float] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("duplicate_kind", "duplicate_of", "neighbours", "density", "prompt_copies", "model", "model_version", "compared_with", "order", "parent_cosine")
    DUPLICATE_KIND_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_OF_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_COPIES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPARED_WITH_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    PARENT_COSINE_FIELD_NUMBER: _ClassVar[int]
    duplicate_kind: str
    duplicate_of: Neighbour
    neighbours: _containers.RepeatedCompositeFieldContainer[Neighbour]
    density: float
    prompt_copies: int
    model: str
    model_version: str
    compared_with: int
    order: int
    parent_cosine: float
    def __init__(self, duplicate_kind: _Optional[str] = ..., duplicate_of: _Optional[_Union[Neighbour, _Mapping]] = ..., neighbours: _Optional[_Iterable[_Union[Neighbour, _Mapping]]] = ..., density: _Optional[float] = ..., prompt_copies: _Optional[int] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., compared_with: _Optional[int] = ..., order: _Optional[int] = ..., parent_cosine: _Optional[float] = ...) -> None: ...

class Spend(_message.Message):
    __slots__ = ("role", "tokens", "money")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_FIELD_NUMBER: _ClassVar[int]
    role: str
    tokens: int
    money: float
    def __init__(self, role: _Optional[str] = ..., tokens: _Optional[int] = ..., money: _Optional[float] = ...) -> None: ...

class Rewrite(_message.Message):
    __slots__ = ("round_id", "axis", "attempt", "attempts_max", "parent", "parent_loss", "parent_density", "parent_quality", "bound", "model", "model_version", "parent_embedding", "hints", "tokens_allowed", "money_allowed", "round_ordinal", "previous_failure", "spent", "ruler_hash", "adds", "row", "gate", "sent_back", "judged", "roles_allowed", "roles_spent")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_MAX_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PARENT_LOSS_FIELD_NUMBER: _ClassVar[int]
    PARENT_DENSITY_FIELD_NUMBER: _ClassVar[int]
    PARENT_QUALITY_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    MONEY_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ROUND_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FAILURE_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    RULER_HASH_FIELD_NUMBER: _ClassVar[int]
    ADDS_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    SENT_BACK_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    ROLES_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ROLES_SPENT_FIELD_NUMBER: _ClassVar[int]
    round_id: str
    axis: str
    attempt: int
    attempts_max: int
    parent: _sample_pb2.Sample
    parent_loss: float
    parent_density: float
    parent_quality: float
    bound: float
    model: str
    model_version: str
    parent_embedding: bytes
    hints: _containers.RepeatedScalarFieldContainer[str]
    tokens_allowed: int
    money_allowed: float
    round_ordinal: int
    previous_failure: str
    spent: _containers.RepeatedCompositeFieldContainer[Cost]
    ruler_hash: str
    adds: bool
    row: int
    gate: Gate
    sent_back: bool
    judged: EndpointJudgement
    roles_allowed: _containers.RepeatedCompositeFieldContainer[Spend]
    roles_spent: _containers.RepeatedCompositeFieldContainer[Spend]
    def __init__(self, round_id: _Optional[str] = ..., axis: _Optional[str] = ..., attempt: _Optional[int] = ..., attempts_max: _Optional[int] = ..., parent: _Optional[_Union[_sample_pb2.Sample, _Mapping]] = ..., parent_loss: _Optional[float] = ..., parent_density: _Optional[float] = ..., parent_quality: _Optional[float] = ..., bound: _Optional[float] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., parent_embedding: _Optional[bytes] = ..., hints: _Optional[_Iterable[str]] = ..., tokens_allowed: _Optional[int] = ..., money_allowed: _Optional[float] = ..., round_ordinal: _Optional[int] = ..., previous_failure: _Optional[str] = ..., spent: _Optional[_Iterable[_Union[Cost, _Mapping]]] = ..., ruler_hash: _Optional[str] = ..., adds: _Optional[bool] = ..., row: _Optional[int] = ..., gate: _Optional[_Union[Gate, _Mapping]] = ..., sent_back: _Optional[bool] = ..., judged: _Optional[_Union[EndpointJudgement, _Mapping]] = ..., roles_allowed: _Optional[_Iterable[_Union[Spend, _Mapping]]] = ..., roles_spent: _Optional[_Iterable[_Union[Spend, _Mapping]]] = ...) -> None: ...

class EndpointJudgement(_message.Message):
    __slots__ = ("parent_quality", "quality", "model", "recipe")
    PARENT_QUALITY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    parent_quality: float
    quality: float
    model: str
    recipe: str
    def __init__(self, parent_quality: _Optional[float] = ..., quality: _Optional[float] = ..., model: _Optional[str] = ..., recipe: _Optional[str] = ...) -> None: ...

class Gate(_message.Message):
    __slots__ = ("mode", "judge", "meaning_cosine_min", "unmended", "judge_rewrites")
    MODE_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    MEANING_COSINE_MIN_FIELD_NUMBER: _ClassVar[int]
    UNMENDED_FIELD_NUMBER: _ClassVar[int]
    JUDGE_REWRITES_FIELD_NUMBER: _ClassVar[int]
    mode: str
    judge: str
    meaning_cosine_min: float
    unmended: str
    judge_rewrites: bool
    def __init__(self, mode: _Optional[str] = ..., judge: _Optional[str] = ..., meaning_cosine_min: _Optional[float] = ..., unmended: _Optional[str] = ..., judge_rewrites: _Optional[bool] = ...) -> None: ...

class CheckResult(_message.Message):
    __slots__ = ("check", "outcome", "score", "evidence", "ruler_hash")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    RULER_HASH_FIELD_NUMBER: _ClassVar[int]
    check: str
    outcome: CheckOutcome
    score: float
    evidence: str
    ruler_hash: str
    def __init__(self, check: _Optional[str] = ..., outcome: _Optional[_Union[CheckOutcome, str]] = ..., score: _Optional[float] = ..., evidence: _Optional[str] = ..., ruler_hash: _Optional[str] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("quantity", "value", "operator", "bound", "held")
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    quantity: str
    value: float
    operator: str
    bound: float
    held: bool
    def __init__(self, quantity: _Optional[str] = ..., value: _Optional[float] = ..., operator: _Optional[str] = ..., bound: _Optional[float] = ..., held: _Optional[bool] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("verdict", "reason", "policy_version", "comparisons", "detail", "checks_requested")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CHECKS_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    reason: str
    policy_version: str
    comparisons: _containers.RepeatedCompositeFieldContainer[Comparison]
    detail: str
    checks_requested: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., reason: _Optional[str] = ..., policy_version: _Optional[str] = ..., comparisons: _Optional[_Iterable[_Union[Comparison, _Mapping]]] = ..., detail: _Optional[str] = ..., checks_requested: _Optional[_Iterable[str]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("stage", "seconds", "prompt_tokens", "completion_tokens", "money", "currency")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    stage: str
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    money: float
    currency: str
    def __init__(self, stage: _Optional[str] = ..., seconds: _Optional[float] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., money: _Optional[float] = ..., currency: _Optional[str] = ...) -> None: ...

class Dossier(_message.Message):
    __slots__ = ("sample", "submitted_at", "signals", "placement", "checks", "decisions", "costs", "rewrite")
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    sample: _sample_pb2.Sample
    submitted_at: _timestamp_pb2.Timestamp
    signals: _containers.RepeatedCompositeFieldContainer[Signals]
    placement: Placement
    checks: _containers.RepeatedCompositeFieldContainer[CheckResult]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    costs: _containers.RepeatedCompositeFieldContainer[Cost]
    rewrite: Rewrite
    def __init__(self, sample: _Optional[_Union[_sample_pb2.Sample, _Mapping]] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., signals: _Optional[_Iterable[_Union[Signals, _Mapping]]] = ..., placement: _Optional[_Union[Placement, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[CheckResult, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., costs: _Optional[_Iterable[_Union[Cost, _Mapping]]] = ..., rewrite: _Optional[_Union[Rewrite, _Mapping]] = ...) -> None: ...

class ScoredSample(_message.Message):
    __slots__ = ("dossier", "embeddings", "held_since", "order", "held_behind", "behind_since")
    DOSSIER_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    HELD_SINCE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    HELD_BEHIND_FIELD_NUMBER: _ClassVar[int]
    BEHIND_SINCE_FIELD_NUMBER: _ClassVar[int]
    dossier: Dossier
    embeddings: Embeddings
    held_since: _timestamp_pb2.Timestamp
    order: int
    held_behind: int
    behind_since: _timestamp_pb2.Timestamp
    def __init__(self, dossier: _Optional[_Union[Dossier, _Mapping]] = ..., embeddings: _Optional[_Union[Embeddings, _Mapping]] = ..., held_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., order: _Optional[int] = ..., held_behind: _Optional[int] = ..., behind_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class IndexedSample(_message.Message):
    __slots__ = ("dataset_id", "sample_id", "revision", "content_hash", "embeddings", "prompt_hash")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_HASH_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    sample_id: str
    revision: int
    content_hash: str
    embeddings: Embeddings
    prompt_hash: str
    def __init__(self, dataset_id: _Optional[str] = ..., sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., content_hash: _Optional[str] = ..., embeddings: _Optional[_Union[Embeddings, _Mapping]] = ..., prompt_hash: _Optional[str] = ...) -> None: ...

class AcceptedSample(_message.Message):
    __slots__ = ("accepted", "retracted")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    RETRACTED_FIELD_NUMBER: _ClassVar[int]
    accepted: Dossier
    retracted: Retraction
    def __init__(self, accepted: _Optional[_Union[Dossier, _Mapping]] = ..., retracted: _Optional[_Union[Retraction, _Mapping]] = ...) -> None: ...

class Retraction(_message.Message):
    __slots__ = ("dataset_id", "sample_id", "revision", "reason")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    sample_id: str
    revision: int
    reason: str
    def __init__(self, dataset_id: _Optional[str] = ..., sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RetractionRequested(_message.Message):
    __slots__ = ("dataset_id", "sample_id", "revision", "reason", "request_id", "requested_by", "note")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    sample_id: str
    revision: int
    reason: str
    request_id: str
    requested_by: str
    note: str
    def __init__(self, dataset_id: _Optional[str] = ..., sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., requested_by: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...
