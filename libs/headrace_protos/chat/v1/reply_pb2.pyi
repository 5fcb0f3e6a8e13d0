from headrace_protos.sample.v1 import dossier_pb2 as _dossier_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hindrance(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HINDRANCE_UNSPECIFIED: _ClassVar[Hindrance]
    HINDRANCE_TOO_LARGE: _ClassVar[Hindrance]
    HINDRANCE_MALFORMED: _ClassVar[Hindrance]
    HINDRANCE_EMPTY: _ClassVar[Hindrance]
    HINDRANCE_CUT_OFF: _ClassVar[Hindrance]
    HINDRANCE_FILTERED: _ClassVar[Hindrance]
    HINDRANCE_FAILED: _ClassVar[Hindrance]
    HINDRANCE_REFUSED: _ClassVar[Hindrance]
HINDRANCE_UNSPECIFIED: Hindrance
HINDRANCE_TOO_LARGE: Hindrance
HINDRANCE_MALFORMED: Hindrance
HINDRANCE_EMPTY: Hindrance
HINDRANCE_CUT_OFF: Hindrance
HINDRANCE_FILTERED: Hindrance
HINDRANCE_FAILED: Hindrance
HINDRANCE_REFUSED: Hindrance

class ModelReply(_message.Message):
    __slots__ = ("identity", "role", "model_asked", "account", "cost", "text", "hindrance")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ASKED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    HINDRANCE_FIELD_NUMBER: _ClassVar[int]
    identity: str
    role: str
    model_asked: str
    account: str
    cost: _dossier_pb2.Cost
    text: ModelText
    hindrance: ModelHindrance
    def __init__(self, identity: _Optional[str] = ..., role: _Optional[str] = ..., model_asked: _Optional[str] = ..., account: _Optional[str] = ..., cost: _Optional[_Union[_dossier_pb2.Cost, _Mapping]] = ..., text: _Optional[_Union[ModelText, _Mapping]] = ..., hindrance: _Optional[_Union[ModelHindrance, _Mapping]] = ...) -> None: ...

class ModelText(_message.Message):
    __slots__ = ("text", "model", "finish_reason")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    finish_reason: str
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ..., finish_reason: _Optional[str] = ...) -> None: ...

class ModelHindrance(_message.Message):
    __slots__ = ("hindrance", "detail")
    HINDRANCE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    hindrance: Hindrance
    detail: str
    def __init__(self, hindrance: _Optional[_Union[Hindrance, str]] = ..., detail: _Optional[str] = ...) -> None: ...
