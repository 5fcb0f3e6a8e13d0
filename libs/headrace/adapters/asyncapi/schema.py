"""Protobuf messages as JSON Schema: the shape of their JSON form, for a reader of the AsyncAPI document."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default

_INT64_TEXT = {
    "type": "string",
    "pattern": "^-?[0-9]+$",
    "description": "A 64-bit integer; protobuf's JSON form writes it as text.",
}
_OF_TYPE: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_INT32: {"type": "integer"},
    FieldDescriptor.TYPE_INT64: _INT64_TEXT,
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_UINT64: _INT64_TEXT,
}
_TIMESTAMP = {"type": "string", "format": "date-time"}


def schemas_of(full_names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The schemas of these messages and of all that they contain, by full name, in order of name.

    Raises:
        KeyError: a message is unknown, or a field has a type that no contract of ours uses yet.
    """
    schemas: dict[str, dict[str, Any]] = {}
    for full_name in full_names:
        _collect(Default().FindMessageTypeByName(full_name), schemas)
    return dict(sorted(schemas.items()))


def reference_to(full_name: str) -> dict[str, str]:
    """A reference to a message's schema within the document."""
    return {"$ref": f"#/components/schemas/{full_name}"}


def _collect(message: Descriptor, schemas: dict[str, dict[str, Any]]) -> None:
    if message.full_name in schemas:
        return
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    schemas[message.full_name] = schema
    for field in message.fields:
        schema["properties"][field.name] = _field(field, schemas)


def _field(field: FieldDescriptor, schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _value(message.fields_by_name["value"], schemas)}
    value = _value(field, schemas)
    return {"type": "array", "items": value} if field.is_repeated else value


def _value(field: FieldDescriptor, schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return _TIMESTAMP
        _collect(field.message_type, schemas)
        return dict(reference_to(field.message_type.full_name))
    return _OF_TYPE[field.type]
