"""What the rows of each export look like: columns, their types, and how a row of a version becomes one."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA
from headrace.core.exports import ExportFormat, Fields, Left, Row, to_alpaca, to_messages, to_sharegpt

HOLDS, TIME = b"holds", b"time"
"""Marks, in a field's metadata, texts that are times in ISO 8601."""

_OURS = ("dossier", "stream", "offset")
"""Columns that only Headrace reads: the wire form of the evidence, and where it was read from."""

PLAIN = pa.schema([field for field in DECIDED_SCHEMA if field.name not in _OURS])
_IDS = [pa.field("sample_id", pa.string()), pa.field("revision", pa.int64())]
_MESSAGES = DECIDED_SCHEMA.field("messages").type
_TOOLS = pa.field("tools", pa.string())
_TURN = pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())])


@dataclass(frozen=True, slots=True)
class Shape:
    """The rows of one format.

    `columns` are read from a version's shards; `convert` makes a row of them, None where batches are written as they are.
    `schema` has every column, and every key that a turn may have.
    """

    format: ExportFormat
    schema: pa.Schema
    columns: tuple[str, ...]
    convert: Callable[[Row], Fields | Left] | None
    summary: str

    @property
    def suffix(self) -> str:
        return "parquet" if self.format is ExportFormat.PARQUET else "jsonl"


def _with_ids(convert: Callable[[Row], Fields | Left]) -> Callable[[Row], Fields | Left]:
    def converted(row: Row) -> Fields | Left:
        fields = convert(row)
        return fields if isinstance(fields, Left) else {"sample_id": row["sample_id"], "revision": row["revision"], **fields}

    return converted


def _plain(row: Row) -> Fields:
    """As the columns say; times in ISO 8601, and turns without the keys that say nothing."""
    fields = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    return {**fields, "messages": to_messages(row)["messages"]}


def _in_json(schema: pa.Schema) -> pa.Schema:
    return pa.schema([_time_as_text(field) if pa.types.is_timestamp(field.type) else field for field in schema])


def _time_as_text(field: pa.Field) -> pa.Field:
    return pa.field(field.name, pa.string(), metadata={HOLDS: TIME})


_CHAT = ("sample_id", "revision", "prompt_hash", "messages", "tools_json")

SHAPES = {
    shape.format: shape
    for shape in (
        Shape(ExportFormat.PARQUET, PLAIN, tuple(PLAIN.names), None, "all columns but the raw evidence, as Parquet"),
        Shape(
            ExportFormat.JSONL, _in_json(PLAIN), tuple(PLAIN.names), _plain,
            "all columns but the raw evidence, as JSON Lines",
        ),
        Shape(
            ExportFormat.MESSAGES, pa.schema([*_IDS, pa.field("messages", _MESSAGES), _TOOLS]), _CHAT, _with_ids(to_messages),
            "conversations in OpenAI chat form, as TRL's SFTTrainer takes them; `tools` is JSON text",
        ),
        Shape(
            ExportFormat.ALPACA,
            pa.schema([*_IDS, *(pa.field(name, pa.string()) for name in ("instruction", "input", "output"))]),
            _CHAT, _with_ids(to_alpaca),
            "Alpaca: the question as `instruction`, the answer as `output`, `input` left empty",
        ),
        Shape(
            ExportFormat.SHAREGPT, pa.schema([*_IDS, pa.field("conversations", pa.list_(_TURN)), _TOOLS]), _CHAT,
            _with_ids(to_sharegpt),
            "ShareGPT: `conversations` of `from` and `value`; calls of tools as JSON text in `function_call` turns",
        ),
        Shape(
            ExportFormat.PREFERENCE,
            pa.schema(
                [
                    *(pa.field(name, _MESSAGES) for name in ("prompt", "chosen", "rejected")), _TOOLS,
                    pa.field("chosen_id", pa.string()), pa.field("chosen_revision", pa.int64()),
                    pa.field("rejected_id", pa.string()), pa.field("rejected_revision", pa.int64()),
                    pa.field("found_by", pa.string()),
                ]
            ),
            (), None,
            "preference pairs: two answers to the same prompt, as TRL's DPOTrainer takes them",
        ),
    )
}  # fmt: skip


def occurring(schema: pa.Schema, seen: frozenset[str]) -> pa.Schema:
    """The schema of what occurred: keys that no turn has are left out of it, since chat templates ask whether a key is there.

    `seen` are paths such as "messages.tool_calls".
    """
    return pa.schema([_occurring(field, field.name, seen) for field in schema])


def _occurring(field: pa.Field, path: str, seen: frozenset[str]) -> pa.Field:
    if not pa.types.is_list(field.type) or not pa.types.is_struct(field.type.value_type):
        return field
    inner = [each for each in field.type.value_type if f"{path}.{each.name}" in seen]
    return field.with_type(pa.list_(pa.struct(inner))) if inner else field


def paths_of(fields: Fields) -> Iterator[str]:
    """The keys of a row's turns, each behind its column's name."""
    for name, value in fields.items():
        if isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    for key in item:
                        yield f"{name}.{key}"


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_line(fields: Fields) -> bytes | Left:
    """The row as one line of JSON, keys in their order."""
    try:
        return _encoder.encode(fields).encode() + b"\n"
    except ValueError:
        return Left.NUMBER


def yaml_features(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns as a dataset card declares them, so that `datasets` needs not guess from the first rows."""
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        item = _feature(kind.value_type)
        return {"list": item.get("struct", item.get("dtype", item))}
    if pa.types.is_struct(kind):
        return {"struct": yaml_features(kind)}
    return {"dtype": str(kind)}
