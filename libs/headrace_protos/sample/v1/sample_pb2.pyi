from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OriginKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORIGIN_KIND_UNSPECIFIED: _ClassVar[OriginKind]
    ORIGIN_KIND_INGESTED: _ClassVar[OriginKind]
    ORIGIN_KIND_GENERATED: _ClassVar[OriginKind]
    ORIGIN_KIND_REFINED: _ClassVar[OriginKind]
ORIGIN_KIND_UNSPECIFIED: OriginKind
ORIGIN_KIND_INGESTED: OriginKind
ORIGIN_KIND_GENERATED: OriginKind
ORIGIN_KIND_REFINED: OriginKind

class ToolCall(_message.Message):
    __slots__ = ("id", "name", "arguments")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    arguments: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content", "tool_calls", "tool_call_id", "name")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    tool_calls: _containers.RepeatedCompositeFieldContainer[ToolCall]
    tool_call_id: str
    name: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., tool_calls: _Optional[_Iterable[_Union[ToolCall, _Mapping]]] = ..., tool_call_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("answer", "verifier", "json_schema", "unit_tests", "rubric", "passages")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    UNIT_TESTS_FIELD_NUMBER: _ClassVar[int]
    RUBRIC_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    answer: str
    verifier: str
    json_schema: str
    unit_tests: _containers.RepeatedScalarFieldContainer[str]
    rubric: str
    passages: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, answer: _Optional[str] = ..., verifier: _Optional[str] = ..., json_schema: _Optional[str] = ..., unit_tests: _Optional[_Iterable[str]] = ..., rubric: _Optional[str] = ..., passages: _Optional[_Iterable[str]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("kind", "parent_ids", "recipe", "recipe_version", "round", "axis", "entry", "restored_by")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARENT_IDS_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    RECIPE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    RESTORED_BY_FIELD_NUMBER: _ClassVar[int]
    kind: OriginKind
    parent_ids: _containers.RepeatedScalarFieldContainer[str]
    recipe: str
    recipe_version: str
    round: str
    axis: str
    entry: str
    restored_by: str
    def __init__(self, kind: _Optional[_Union[OriginKind, str]] = ..., parent_ids: _Optional[_Iterable[str]] = ..., recipe: _Optional[str] = ..., recipe_version: _Optional[str] = ..., round: _Optional[str] = ..., axis: _Optional[str] = ..., entry: _Optional[str] = ..., restored_by: _Optional[str] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("dataset_id", "id", "revision", "content_hash", "messages", "tools_json", "reference", "origin", "attributes", "metadata_json")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOOLS_JSON_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    id: str
    revision: int
    content_hash: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    tools_json: str
    reference: Reference
    origin: Origin
    attributes: _containers.ScalarMap[str, str]
    metadata_json: str
    def __init__(self, dataset_id: _Optional[str] = ..., id: _Optional[str] = ..., revision: _Optional[int] = ..., content_hash: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., tools_json: _Optional[str] = ..., reference: _Optional[_Union[Reference, _Mapping]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., metadata_json: _Optional[str] = ...) -> None: ...
