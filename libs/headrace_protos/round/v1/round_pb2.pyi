import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_protos.sample.v1 import dossier_pb2 as _dossier_pb2
from headrace_protos.sample.v1 import sample_pb2 as _sample_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Survey(_message.Message):
    __slots__ = ("dataset_id", "round_id", "purpose", "version", "model", "model_version", "base_model", "base_model_version", "judge", "held_out_share", "held_out_seed", "base_from", "plain_prompts")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_SHARE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_SEED_FIELD_NUMBER: _ClassVar[int]
    BASE_FROM_FIELD_NUMBER: _ClassVar[int]
    PLAIN_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    round_id: str
    purpose: str
    version: str
    model: str
    model_version: str
    base_model: str
    base_model_version: str
    judge: str
    held_out_share: float
    held_out_seed: str
    base_from: str
    plain_prompts: bool
    def __init__(self, dataset_id: _Optional[str] = ..., round_id: _Optional[str] = ..., purpose: _Optional[str] = ..., version: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., base_model: _Optional[str] = ..., base_model_version: _Optional[str] = ..., judge: _Optional[str] = ..., held_out_share: _Optional[float] = ..., held_out_seed: _Optional[str] = ..., base_from: _Optional[str] = ..., plain_prompts: _Optional[bool] = ...) -> None: ...

class RoundStepRequested(_message.Message):
    __slots__ = ("survey", "density", "selection", "refining", "eviction", "revert")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    REFINING_FIELD_NUMBER: _ClassVar[int]
    EVICTION_FIELD_NUMBER: _ClassVar[int]
    REVERT_FIELD_NUMBER: _ClassVar[int]
    survey: SurveyRequested
    density: DensityRequested
    selection: SelectionRequested
    refining: RefiningRequested
    eviction: EvictionRequested
    revert: RevertRequested
    def __init__(self, survey: _Optional[_Union[SurveyRequested, _Mapping]] = ..., density: _Optional[_Union[DensityRequested, _Mapping]] = ..., selection: _Optional[_Union[SelectionRequested, _Mapping]] = ..., refining: _Optional[_Union[RefiningRequested, _Mapping]] = ..., eviction: _Optional[_Union[EvictionRequested, _Mapping]] = ..., revert: _Optional[_Union[RevertRequested, _Mapping]] = ...) -> None: ...

class SurveyRequested(_message.Message):
    __slots__ = ("survey", "shard", "row", "after")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    shard: int
    row: int
    after: str
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., shard: _Optional[int] = ..., row: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class SurveyedSample(_message.Message):
    __slots__ = ("survey", "sample", "known")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    sample: _sample_pb2.Sample
    known: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Signals]
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., sample: _Optional[_Union[_sample_pb2.Sample, _Mapping]] = ..., known: _Optional[_Iterable[_Union[_dossier_pb2.Signals, _Mapping]]] = ...) -> None: ...

class MeasuredSample(_message.Message):
    __slots__ = ("survey", "sample_id", "revision", "content_hash", "prompt_hash", "origin_kind", "merge_key", "signals", "embeddings", "cost", "sent_back", "plain_prompt")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    PROMPT_HASH_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_KIND_FIELD_NUMBER: _ClassVar[int]
    MERGE_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    SENT_BACK_FIELD_NUMBER: _ClassVar[int]
    PLAIN_PROMPT_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    sample_id: str
    revision: int
    content_hash: str
    prompt_hash: str
    origin_kind: str
    merge_key: str
    signals: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Signals]
    embeddings: _dossier_pb2.Embeddings
    cost: _dossier_pb2.Cost
    sent_back: bool
    plain_prompt: bytes
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., content_hash: _Optional[str] = ..., prompt_hash: _Optional[str] = ..., origin_kind: _Optional[str] = ..., merge_key: _Optional[str] = ..., signals: _Optional[_Iterable[_Union[_dossier_pb2.Signals, _Mapping]]] = ..., embeddings: _Optional[_Union[_dossier_pb2.Embeddings, _Mapping]] = ..., cost: _Optional[_Union[_dossier_pb2.Cost, _Mapping]] = ..., sent_back: _Optional[bool] = ..., plain_prompt: _Optional[bytes] = ...) -> None: ...

class DensityRequested(_message.Message):
    __slots__ = ("survey", "first_row", "rows", "neighbours")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    first_row: int
    rows: int
    neighbours: int
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., first_row: _Optional[int] = ..., rows: _Optional[int] = ..., neighbours: _Optional[int] = ...) -> None: ...

class SelectionRequested(_message.Message):
    __slots__ = ("survey", "rows", "rules_json")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    rows: int
    rules_json: str
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., rows: _Optional[int] = ..., rules_json: _Optional[str] = ...) -> None: ...

class RefiningRequested(_message.Message):
    __slots__ = ("survey", "first_row", "rows", "attempts_max", "round_ordinal", "tokens_allowed_each", "money_allowed_each", "only_rows", "gate", "roles_allowed_each")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_MAX_FIELD_NUMBER: _ClassVar[int]
    ROUND_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    TOKENS_ALLOWED_EACH_FIELD_NUMBER: _ClassVar[int]
    MONEY_ALLOWED_EACH_FIELD_NUMBER: _ClassVar[int]
    ONLY_ROWS_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    ROLES_ALLOWED_EACH_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    first_row: int
    rows: int
    attempts_max: int
    round_ordinal: int
    tokens_allowed_each: int
    money_allowed_each: float
    only_rows: _containers.RepeatedScalarFieldContainer[int]
    gate: _dossier_pb2.Gate
    roles_allowed_each: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., first_row: _Optional[int] = ..., rows: _Optional[int] = ..., attempts_max: _Optional[int] = ..., round_ordinal: _Optional[int] = ..., tokens_allowed_each: _Optional[int] = ..., money_allowed_each: _Optional[float] = ..., only_rows: _Optional[_Iterable[int]] = ..., gate: _Optional[_Union[_dossier_pb2.Gate, _Mapping]] = ..., roles_allowed_each: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ...) -> None: ...

class EvictionRequested(_message.Message):
    __slots__ = ("survey", "rows")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    rows: int
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., rows: _Optional[int] = ...) -> None: ...

class RevertRequested(_message.Message):
    __slots__ = ("survey", "standing", "after")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    standing: str
    after: str
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., standing: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class RefinementRequested(_message.Message):
    __slots__ = ("rewrite",)
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    rewrite: _dossier_pb2.Rewrite
    def __init__(self, rewrite: _Optional[_Union[_dossier_pb2.Rewrite, _Mapping]] = ...) -> None: ...

class RoundTimer(_message.Message):
    __slots__ = ("dataset_id", "round_id", "transition")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    round_id: str
    transition: int
    def __init__(self, dataset_id: _Optional[str] = ..., round_id: _Optional[str] = ..., transition: _Optional[int] = ...) -> None: ...

class RoundProgressed(_message.Message):
    __slots__ = ("dataset_id", "round_id", "started", "asked", "sent", "measured", "lost", "densities", "selected", "requested", "ended", "evicted", "committed", "checkpoint", "deadline", "reverted", "restored")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    DENSITIES_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    round_id: str
    started: RoundStarted
    asked: RoundAsked
    sent: RowsSent
    measured: RowsMeasured
    lost: RowLost
    densities: DensitiesMade
    selected: RowsSelected
    requested: RewritesRequested
    ended: RewriteEnded
    evicted: RowsEvicted
    committed: RoundCommitted
    checkpoint: CheckpointMeasures
    deadline: DeadlinePassed
    reverted: RowsReverted
    restored: RestorationEnded
    def __init__(self, dataset_id: _Optional[str] = ..., round_id: _Optional[str] = ..., started: _Optional[_Union[RoundStarted, _Mapping]] = ..., asked: _Optional[_Union[RoundAsked, _Mapping]] = ..., sent: _Optional[_Union[RowsSent, _Mapping]] = ..., measured: _Optional[_Union[RowsMeasured, _Mapping]] = ..., lost: _Optional[_Union[RowLost, _Mapping]] = ..., densities: _Optional[_Union[DensitiesMade, _Mapping]] = ..., selected: _Optional[_Union[RowsSelected, _Mapping]] = ..., requested: _Optional[_Union[RewritesRequested, _Mapping]] = ..., ended: _Optional[_Union[RewriteEnded, _Mapping]] = ..., evicted: _Optional[_Union[RowsEvicted, _Mapping]] = ..., committed: _Optional[_Union[RoundCommitted, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointMeasures, _Mapping]] = ..., deadline: _Optional[_Union[DeadlinePassed, _Mapping]] = ..., reverted: _Optional[_Union[RowsReverted, _Mapping]] = ..., restored: _Optional[_Union[RestorationEnded, _Mapping]] = ...) -> None: ...

class RoundStarted(_message.Message):
    __slots__ = ("survey", "version_sequence", "policy_version", "rules_json", "requested_by", "started_at", "rows", "checkpoint_id", "trained_otherwise")
    SURVEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    RULES_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    TRAINED_OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    survey: Survey
    version_sequence: int
    policy_version: str
    rules_json: str
    requested_by: str
    started_at: _timestamp_pb2.Timestamp
    rows: int
    checkpoint_id: str
    trained_otherwise: str
    def __init__(self, survey: _Optional[_Union[Survey, _Mapping]] = ..., version_sequence: _Optional[int] = ..., policy_version: _Optional[str] = ..., rules_json: _Optional[str] = ..., requested_by: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rows: _Optional[int] = ..., checkpoint_id: _Optional[str] = ..., trained_otherwise: _Optional[str] = ...) -> None: ...

class RoundAsked(_message.Message):
    __slots__ = ("action", "reason", "requested_by", "dead_letter_id")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    action: str
    reason: str
    requested_by: str
    dead_letter_id: str
    def __init__(self, action: _Optional[str] = ..., reason: _Optional[str] = ..., requested_by: _Optional[str] = ..., dead_letter_id: _Optional[str] = ...) -> None: ...

class RowsSent(_message.Message):
    __slots__ = ("purpose", "rows", "complete")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    rows: int
    complete: bool
    def __init__(self, purpose: _Optional[str] = ..., rows: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class RowsMeasured(_message.Message):
    __slots__ = ("purpose", "rows", "not_made", "tokens", "seconds", "sent_back")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NOT_MADE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SENT_BACK_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    rows: int
    not_made: int
    tokens: int
    seconds: float
    sent_back: str
    def __init__(self, purpose: _Optional[str] = ..., rows: _Optional[int] = ..., not_made: _Optional[int] = ..., tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., sent_back: _Optional[str] = ...) -> None: ...

class RowLost(_message.Message):
    __slots__ = ("purpose", "sample_id", "revision", "service", "error", "axis")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    sample_id: str
    revision: int
    service: str
    error: str
    axis: str
    def __init__(self, purpose: _Optional[str] = ..., sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., service: _Optional[str] = ..., error: _Optional[str] = ..., axis: _Optional[str] = ...) -> None: ...

class DensitiesMade(_message.Message):
    __slots__ = ("rows", "complete")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    complete: bool
    def __init__(self, rows: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class RowsSelected(_message.Message):
    __slots__ = ("purpose", "hard", "sparse", "low_quality", "thresholds_json", "selection_sha256", "held_out_loss", "held_out_rows", "held_out_loss_before", "model_written_rows", "collapsed")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    SPARSE_FIELD_NUMBER: _ClassVar[int]
    LOW_QUALITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_JSON_FIELD_NUMBER: _ClassVar[int]
    SELECTION_SHA256_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_LOSS_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_ROWS_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_LOSS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_WRITTEN_ROWS_FIELD_NUMBER: _ClassVar[int]
    COLLAPSED_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    hard: int
    sparse: int
    low_quality: int
    thresholds_json: str
    selection_sha256: str
    held_out_loss: float
    held_out_rows: int
    held_out_loss_before: float
    model_written_rows: int
    collapsed: int
    def __init__(self, purpose: _Optional[str] = ..., hard: _Optional[int] = ..., sparse: _Optional[int] = ..., low_quality: _Optional[int] = ..., thresholds_json: _Optional[str] = ..., selection_sha256: _Optional[str] = ..., held_out_loss: _Optional[float] = ..., held_out_rows: _Optional[int] = ..., held_out_loss_before: _Optional[float] = ..., model_written_rows: _Optional[int] = ..., collapsed: _Optional[int] = ...) -> None: ...

class RewritesRequested(_message.Message):
    __slots__ = ("rows", "complete")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    rows: int
    complete: bool
    def __init__(self, rows: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class RewriteEnded(_message.Message):
    __slots__ = ("axis", "parent_id", "ending", "reason", "attempts", "tokens", "money", "parent_model_written", "adds", "detail", "tokens_needed", "money_needed", "row", "sent_back", "roles_spent", "roles_needed")
    AXIS_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_FIELD_NUMBER: _ClassVar[int]
    PARENT_MODEL_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    ADDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    TOKENS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    MONEY_NEEDED_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    SENT_BACK_FIELD_NUMBER: _ClassVar[int]
    ROLES_SPENT_FIELD_NUMBER: _ClassVar[int]
    ROLES_NEEDED_FIELD_NUMBER: _ClassVar[int]
    axis: str
    parent_id: str
    ending: str
    reason: str
    attempts: int
    tokens: int
    money: float
    parent_model_written: bool
    adds: bool
    detail: str
    tokens_needed: int
    money_needed: float
    row: int
    sent_back: bool
    roles_spent: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    roles_needed: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    def __init__(self, axis: _Optional[str] = ..., parent_id: _Optional[str] = ..., ending: _Optional[str] = ..., reason: _Optional[str] = ..., attempts: _Optional[int] = ..., tokens: _Optional[int] = ..., money: _Optional[float] = ..., parent_model_written: _Optional[bool] = ..., adds: _Optional[bool] = ..., detail: _Optional[str] = ..., tokens_needed: _Optional[int] = ..., money_needed: _Optional[float] = ..., row: _Optional[int] = ..., sent_back: _Optional[bool] = ..., roles_spent: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ..., roles_needed: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ...) -> None: ...

class RowsEvicted(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    def __init__(self, rows: _Optional[int] = ...) -> None: ...

class RoundCommitted(_message.Message):
    __slots__ = ("version", "version_sequence", "rows_accepted", "cut")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ROWS_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    version: str
    version_sequence: int
    rows_accepted: int
    cut: str
    def __init__(self, version: _Optional[str] = ..., version_sequence: _Optional[int] = ..., rows_accepted: _Optional[int] = ..., cut: _Optional[str] = ...) -> None: ...

class RowsReverted(_message.Message):
    __slots__ = ("restoring", "retracted", "complete")
    RESTORING_FIELD_NUMBER: _ClassVar[int]
    RETRACTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    restoring: int
    retracted: int
    complete: bool
    def __init__(self, restoring: _Optional[int] = ..., retracted: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class RestorationEnded(_message.Message):
    __slots__ = ("sample_id", "revision", "accepted", "reason")
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sample_id: str
    revision: int
    accepted: bool
    reason: str
    def __init__(self, sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., accepted: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class CheckpointMeasures(_message.Message):
    __slots__ = ("checkpoint_id", "model_version", "refused", "version")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    model_version: str
    refused: str
    version: str
    def __init__(self, checkpoint_id: _Optional[str] = ..., model_version: _Optional[str] = ..., refused: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class HeldOutMeasured(_message.Message):
    __slots__ = ("before", "after", "rows")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    before: float
    after: float
    rows: int
    def __init__(self, before: _Optional[float] = ..., after: _Optional[float] = ..., rows: _Optional[int] = ...) -> None: ...

class DeadlinePassed(_message.Message):
    __slots__ = ("transition",)
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    transition: int
    def __init__(self, transition: _Optional[int] = ...) -> None: ...

class RoundState(_message.Message):
    __slots__ = ("dataset_id", "round_id", "ordinal", "phase", "reason", "detail", "frozen_in", "transition", "begun", "phase_since", "deadline", "rows", "held_out_rows", "densities_made", "selected", "rewrites", "evicted", "committed", "checkpoint", "held_out", "updated_at", "awaits", "waived", "dead_letters", "passed", "revert")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FROZEN_IN_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    PHASE_SINCE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_ROWS_FIELD_NUMBER: _ClassVar[int]
    DENSITIES_MADE_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    REWRITES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    AWAITS_FIELD_NUMBER: _ClassVar[int]
    WAIVED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    REVERT_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    round_id: str
    ordinal: int
    phase: str
    reason: str
    detail: str
    frozen_in: str
    transition: int
    begun: RoundStarted
    phase_since: _timestamp_pb2.Timestamp
    deadline: _timestamp_pb2.Timestamp
    rows: RowCounts
    held_out_rows: RowCounts
    densities_made: bool
    selected: RowsSelected
    rewrites: RewriteCounts
    evicted: int
    committed: RoundCommitted
    checkpoint: CheckpointMeasures
    held_out: HeldOutMeasured
    updated_at: _timestamp_pb2.Timestamp
    awaits: str
    waived: _containers.RepeatedScalarFieldContainer[str]
    dead_letters: _containers.RepeatedScalarFieldContainer[str]
    passed: _containers.RepeatedCompositeFieldContainer[PassedPhase]
    revert: RevertCounts
    def __init__(self, dataset_id: _Optional[str] = ..., round_id: _Optional[str] = ..., ordinal: _Optional[int] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., frozen_in: _Optional[str] = ..., transition: _Optional[int] = ..., begun: _Optional[_Union[RoundStarted, _Mapping]] = ..., phase_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rows: _Optional[_Union[RowCounts, _Mapping]] = ..., held_out_rows: _Optional[_Union[RowCounts, _Mapping]] = ..., densities_made: _Optional[bool] = ..., selected: _Optional[_Union[RowsSelected, _Mapping]] = ..., rewrites: _Optional[_Union[RewriteCounts, _Mapping]] = ..., evicted: _Optional[int] = ..., committed: _Optional[_Union[RoundCommitted, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointMeasures, _Mapping]] = ..., held_out: _Optional[_Union[HeldOutMeasured, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., awaits: _Optional[str] = ..., waived: _Optional[_Iterable[str]] = ..., dead_letters: _Optional[_Iterable[str]] = ..., passed: _Optional[_Iterable[_Union[PassedPhase, _Mapping]]] = ..., revert: _Optional[_Union[RevertCounts, _Mapping]] = ...) -> None: ...

class RevertCounts(_message.Message):
    __slots__ = ("ending", "reason", "detail", "evicting", "standing", "version", "restoring", "retracted", "all_found", "restored", "refused", "lost", "returned", "found")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ENDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    EVICTING_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESTORING_FIELD_NUMBER: _ClassVar[int]
    RETRACTED_FIELD_NUMBER: _ClassVar[int]
    ALL_FOUND_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ending: str
    reason: str
    detail: str
    evicting: bool
    standing: RoundCommitted
    version: RoundCommitted
    restoring: int
    retracted: int
    all_found: bool
    restored: int
    refused: _containers.ScalarMap[str, int]
    lost: _containers.RepeatedScalarFieldContainer[str]
    returned: _containers.RepeatedScalarFieldContainer[str]
    found: int
    def __init__(self, ending: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., evicting: _Optional[bool] = ..., standing: _Optional[_Union[RoundCommitted, _Mapping]] = ..., version: _Optional[_Union[RoundCommitted, _Mapping]] = ..., restoring: _Optional[int] = ..., retracted: _Optional[int] = ..., all_found: _Optional[bool] = ..., restored: _Optional[int] = ..., refused: _Optional[_Mapping[str, int]] = ..., lost: _Optional[_Iterable[str]] = ..., returned: _Optional[_Iterable[str]] = ..., found: _Optional[int] = ...) -> None: ...

class PassedPhase(_message.Message):
    __slots__ = ("phase", "since")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    phase: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, phase: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RowCounts(_message.Message):
    __slots__ = ("sent", "all_sent", "measured", "not_made", "lost", "tokens", "seconds", "returned")
    SENT_FIELD_NUMBER: _ClassVar[int]
    ALL_SENT_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    NOT_MADE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    sent: int
    all_sent: bool
    measured: int
    not_made: int
    lost: _containers.RepeatedScalarFieldContainer[str]
    tokens: int
    seconds: float
    returned: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sent: _Optional[int] = ..., all_sent: _Optional[bool] = ..., measured: _Optional[int] = ..., not_made: _Optional[int] = ..., lost: _Optional[_Iterable[str]] = ..., tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., returned: _Optional[_Iterable[str]] = ...) -> None: ...

class RewriteCounts(_message.Message):
    __slots__ = ("requested", "all_requested", "accepted", "rejected", "not_made", "attempts", "tokens", "money", "cost_unknown", "lost", "rows_asked", "tokens_charged", "money_charged", "tokens_allowed_each", "money_allowed_each", "near_duplicates", "human_replaced", "human_unmended", "model_unmended", "returned", "beside", "put_off", "page_rows", "not_begun", "reasons", "roles_spent", "roles_charged", "roles_allowed_each")
    class AcceptedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class RejectedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class NotMadeEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    ALL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    NOT_MADE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_FIELD_NUMBER: _ClassVar[int]
    COST_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    ROWS_ASKED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_CHARGED_FIELD_NUMBER: _ClassVar[int]
    MONEY_CHARGED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_ALLOWED_EACH_FIELD_NUMBER: _ClassVar[int]
    MONEY_ALLOWED_EACH_FIELD_NUMBER: _ClassVar[int]
    NEAR_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    HUMAN_REPLACED_FIELD_NUMBER: _ClassVar[int]
    HUMAN_UNMENDED_FIELD_NUMBER: _ClassVar[int]
    MODEL_UNMENDED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    PUT_OFF_FIELD_NUMBER: _ClassVar[int]
    PAGE_ROWS_FIELD_NUMBER: _ClassVar[int]
    NOT_BEGUN_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    ROLES_SPENT_FIELD_NUMBER: _ClassVar[int]
    ROLES_CHARGED_FIELD_NUMBER: _ClassVar[int]
    ROLES_ALLOWED_EACH_FIELD_NUMBER: _ClassVar[int]
    requested: int
    all_requested: bool
    accepted: _containers.ScalarMap[str, int]
    rejected: _containers.ScalarMap[str, int]
    not_made: _containers.ScalarMap[str, int]
    attempts: int
    tokens: int
    money: float
    cost_unknown: int
    lost: _containers.RepeatedScalarFieldContainer[str]
    rows_asked: int
    tokens_charged: int
    money_charged: float
    tokens_allowed_each: int
    money_allowed_each: float
    near_duplicates: int
    human_replaced: int
    human_unmended: int
    model_unmended: int
    returned: _containers.RepeatedScalarFieldContainer[str]
    beside: int
    put_off: _containers.RepeatedCompositeFieldContainer[PutOff]
    page_rows: int
    not_begun: int
    reasons: _containers.RepeatedCompositeFieldContainer[ReasonCount]
    roles_spent: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    roles_charged: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    roles_allowed_each: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    def __init__(self, requested: _Optional[int] = ..., all_requested: _Optional[bool] = ..., accepted: _Optional[_Mapping[str, int]] = ..., rejected: _Optional[_Mapping[str, int]] = ..., not_made: _Optional[_Mapping[str, int]] = ..., attempts: _Optional[int] = ..., tokens: _Optional[int] = ..., money: _Optional[float] = ..., cost_unknown: _Optional[int] = ..., lost: _Optional[_Iterable[str]] = ..., rows_asked: _Optional[int] = ..., tokens_charged: _Optional[int] = ..., money_charged: _Optional[float] = ..., tokens_allowed_each: _Optional[int] = ..., money_allowed_each: _Optional[float] = ..., near_duplicates: _Optional[int] = ..., human_replaced: _Optional[int] = ..., human_unmended: _Optional[int] = ..., model_unmended: _Optional[int] = ..., returned: _Optional[_Iterable[str]] = ..., beside: _Optional[int] = ..., put_off: _Optional[_Iterable[_Union[PutOff, _Mapping]]] = ..., page_rows: _Optional[int] = ..., not_begun: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[ReasonCount, _Mapping]]] = ..., roles_spent: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ..., roles_charged: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ..., roles_allowed_each: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ...) -> None: ...

class PutOff(_message.Message):
    __slots__ = ("row", "axis", "tokens_needed", "money_needed", "roles_needed")
    ROW_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    MONEY_NEEDED_FIELD_NUMBER: _ClassVar[int]
    ROLES_NEEDED_FIELD_NUMBER: _ClassVar[int]
    row: int
    axis: str
    tokens_needed: int
    money_needed: float
    roles_needed: _containers.RepeatedCompositeFieldContainer[_dossier_pb2.Spend]
    def __init__(self, row: _Optional[int] = ..., axis: _Optional[str] = ..., tokens_needed: _Optional[int] = ..., money_needed: _Optional[float] = ..., roles_needed: _Optional[_Iterable[_Union[_dossier_pb2.Spend, _Mapping]]] = ...) -> None: ...

class ReasonCount(_message.Message):
    __slots__ = ("ending", "reason", "count", "example")
    ENDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    ending: str
    reason: str
    count: int
    example: str
    def __init__(self, ending: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ..., example: _Optional[str] = ...) -> None: ...
