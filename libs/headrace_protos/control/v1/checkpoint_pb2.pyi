import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckpointKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECKPOINT_KIND_UNSPECIFIED: _ClassVar[CheckpointKind]
    CHECKPOINT_KIND_FULL: _ClassVar[CheckpointKind]
    CHECKPOINT_KIND_ADAPTER: _ClassVar[CheckpointKind]
CHECKPOINT_KIND_UNSPECIFIED: CheckpointKind
CHECKPOINT_KIND_FULL: CheckpointKind
CHECKPOINT_KIND_ADAPTER: CheckpointKind

class CheckpointFile(_message.Message):
    __slots__ = ("name", "sha256", "size_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    size_bytes: int
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class PositionRange(_message.Message):
    __slots__ = ("partition", "from_offset", "until_offset", "part_index", "part_of", "repeats_until")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    UNTIL_OFFSET_FIELD_NUMBER: _ClassVar[int]
    PART_INDEX_FIELD_NUMBER: _ClassVar[int]
    PART_OF_FIELD_NUMBER: _ClassVar[int]
    REPEATS_UNTIL_FIELD_NUMBER: _ClassVar[int]
    partition: int
    from_offset: int
    until_offset: int
    part_index: int
    part_of: int
    repeats_until: int
    def __init__(self, partition: _Optional[int] = ..., from_offset: _Optional[int] = ..., until_offset: _Optional[int] = ..., part_index: _Optional[int] = ..., part_of: _Optional[int] = ..., repeats_until: _Optional[int] = ...) -> None: ...

class VersionPart(_message.Message):
    __slots__ = ("part_index", "part_of", "from_shard", "from_row", "until_shard", "until_row")
    PART_INDEX_FIELD_NUMBER: _ClassVar[int]
    PART_OF_FIELD_NUMBER: _ClassVar[int]
    FROM_SHARD_FIELD_NUMBER: _ClassVar[int]
    FROM_ROW_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SHARD_FIELD_NUMBER: _ClassVar[int]
    UNTIL_ROW_FIELD_NUMBER: _ClassVar[int]
    part_index: int
    part_of: int
    from_shard: int
    from_row: int
    until_shard: int
    until_row: int
    def __init__(self, part_index: _Optional[int] = ..., part_of: _Optional[int] = ..., from_shard: _Optional[int] = ..., from_row: _Optional[int] = ..., until_shard: _Optional[int] = ..., until_row: _Optional[int] = ...) -> None: ...

class TrainingData(_message.Message):
    __slots__ = ("dataset_id", "version", "positions", "held_out_share", "held_out_seed", "rows_trained", "rows_held_out", "version_parts", "streamed")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_SHARE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_SEED_FIELD_NUMBER: _ClassVar[int]
    ROWS_TRAINED_FIELD_NUMBER: _ClassVar[int]
    ROWS_HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    VERSION_PARTS_FIELD_NUMBER: _ClassVar[int]
    STREAMED_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    version: str
    positions: _containers.RepeatedCompositeFieldContainer[PositionRange]
    held_out_share: float
    held_out_seed: str
    rows_trained: int
    rows_held_out: int
    version_parts: _containers.RepeatedCompositeFieldContainer[VersionPart]
    streamed: bool
    def __init__(self, dataset_id: _Optional[str] = ..., version: _Optional[str] = ..., positions: _Optional[_Iterable[_Union[PositionRange, _Mapping]]] = ..., held_out_share: _Optional[float] = ..., held_out_seed: _Optional[str] = ..., rows_trained: _Optional[int] = ..., rows_held_out: _Optional[int] = ..., version_parts: _Optional[_Iterable[_Union[VersionPart, _Mapping]]] = ..., streamed: _Optional[bool] = ...) -> None: ...

class CheckpointPublished(_message.Message):
    __slots__ = ("model", "checkpoint_id", "manifest_key", "kind", "files", "base_model", "base_sha256", "data", "hyperparameters_json", "metrics", "run_id", "published_at")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_KEY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    BASE_SHA256_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    model: str
    checkpoint_id: str
    manifest_key: str
    kind: CheckpointKind
    files: _containers.RepeatedCompositeFieldContainer[CheckpointFile]
    base_model: str
    base_sha256: str
    data: TrainingData
    hyperparameters_json: str
    metrics: _containers.ScalarMap[str, float]
    run_id: str
    published_at: _timestamp_pb2.Timestamp
    def __init__(self, model: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., manifest_key: _Optional[str] = ..., kind: _Optional[_Union[CheckpointKind, str]] = ..., files: _Optional[_Iterable[_Union[CheckpointFile, _Mapping]]] = ..., base_model: _Optional[str] = ..., base_sha256: _Optional[str] = ..., data: _Optional[_Union[TrainingData, _Mapping]] = ..., hyperparameters_json: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., run_id: _Optional[str] = ..., published_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CheckpointRolledOut(_message.Message):
    __slots__ = ("model", "checkpoint_id", "model_version", "previous_version", "golden_loss", "previous_golden_loss", "dimensions", "seconds", "load_seconds", "rollback_request_id", "rolled_out_at", "weights_sha256")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_LOSS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_GOLDEN_LOSS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    LOAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLED_OUT_AT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    model: str
    checkpoint_id: str
    model_version: str
    previous_version: str
    golden_loss: float
    previous_golden_loss: float
    dimensions: int
    seconds: float
    load_seconds: float
    rollback_request_id: str
    rolled_out_at: _timestamp_pb2.Timestamp
    weights_sha256: str
    def __init__(self, model: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., model_version: _Optional[str] = ..., previous_version: _Optional[str] = ..., golden_loss: _Optional[float] = ..., previous_golden_loss: _Optional[float] = ..., dimensions: _Optional[int] = ..., seconds: _Optional[float] = ..., load_seconds: _Optional[float] = ..., rollback_request_id: _Optional[str] = ..., rolled_out_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., weights_sha256: _Optional[str] = ...) -> None: ...

class CheckpointRefused(_message.Message):
    __slots__ = ("model", "checkpoint_id", "step", "reason", "refused_at", "rollback_request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSED_AT_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    checkpoint_id: str
    step: str
    reason: str
    refused_at: _timestamp_pb2.Timestamp
    rollback_request_id: str
    def __init__(self, model: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., step: _Optional[str] = ..., reason: _Optional[str] = ..., refused_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rollback_request_id: _Optional[str] = ...) -> None: ...

class RollbackRequested(_message.Message):
    __slots__ = ("model", "request_id", "checkpoint_id", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    request_id: str
    checkpoint_id: str
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., request_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...
