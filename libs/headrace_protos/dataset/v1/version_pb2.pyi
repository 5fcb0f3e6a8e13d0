import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DatasetCutRequested(_message.Message):
    __slots__ = ("dataset_id", "request_id", "requested_by")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    request_id: str
    requested_by: str
    def __init__(self, dataset_id: _Optional[str] = ..., request_id: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class DatasetCommitted(_message.Message):
    __slots__ = ("dataset_id", "version", "sequence", "manifest_key", "rows_accepted", "rows_rejected", "committed_at", "request_id")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_KEY_FIELD_NUMBER: _ClassVar[int]
    ROWS_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ROWS_REJECTED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    version: str
    sequence: int
    manifest_key: str
    rows_accepted: int
    rows_rejected: int
    committed_at: _timestamp_pb2.Timestamp
    request_id: str
    def __init__(self, dataset_id: _Optional[str] = ..., version: _Optional[str] = ..., sequence: _Optional[int] = ..., manifest_key: _Optional[str] = ..., rows_accepted: _Optional[int] = ..., rows_rejected: _Optional[int] = ..., committed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...
