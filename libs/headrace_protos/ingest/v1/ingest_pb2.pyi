from headrace_protos.sample.v1 import sample_pb2 as _sample_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IngestStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INGEST_STATUS_UNSPECIFIED: _ClassVar[IngestStatus]
    INGEST_STATUS_RECEIVED: _ClassVar[IngestStatus]
    INGEST_STATUS_REFUSED: _ClassVar[IngestStatus]
    INGEST_STATUS_UNAVAILABLE: _ClassVar[IngestStatus]
INGEST_STATUS_UNSPECIFIED: IngestStatus
INGEST_STATUS_RECEIVED: IngestStatus
INGEST_STATUS_REFUSED: IngestStatus
INGEST_STATUS_UNAVAILABLE: IngestStatus

class IngestRequest(_message.Message):
    __slots__ = ("ref", "dataset_id", "sample", "json")
    REF_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    ref: int
    dataset_id: str
    sample: _sample_pb2.Sample
    json: bytes
    def __init__(self, ref: _Optional[int] = ..., dataset_id: _Optional[str] = ..., sample: _Optional[_Union[_sample_pb2.Sample, _Mapping]] = ..., json: _Optional[bytes] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("ref", "status", "sample_id", "revision", "content_hash", "error_code", "error")
    REF_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ref: int
    status: IngestStatus
    sample_id: str
    revision: int
    content_hash: str
    error_code: str
    error: str
    def __init__(self, ref: _Optional[int] = ..., status: _Optional[_Union[IngestStatus, str]] = ..., sample_id: _Optional[str] = ..., revision: _Optional[int] = ..., content_hash: _Optional[str] = ..., error_code: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...
