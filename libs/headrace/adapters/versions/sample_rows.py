"""The columns of decided samples and of embeddings, and how events become rows.

`messages` has the OpenAI chat form, so that trainers use it as it is. Times are microseconds UTC. What is absent is null.
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.cost_tally import COST, cost_records
from headrace.adapters.wire import events as wire
from headrace.core.dossiers import CURRENT, Dossier, IndexedSample
from headrace.core.samples import Message, Reference, prompt_hash_of
from headrace.core.staged import Place

_US = 1_000_000
_REFERENCE_FIELDS = tuple(field.name for field in fields(Reference))
_FLOAT32_BYTES = 4

POSITION_FIELDS = [pa.field("stream", pa.string()), pa.field("offset", pa.int64())]
"""Where the event was read: the stream ("decided/00002": topic and partition) and the Kafka offset in it."""

_TOOL_CALL = pa.struct(
    [
        pa.field("id", pa.string()),
        pa.field("type", pa.string()),
        pa.field("function", pa.struct([pa.field("name", pa.string()), pa.field("arguments", pa.string())])),
    ]
)
_MESSAGE = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field("content", pa.string()),
        pa.field("tool_calls", pa.list_(_TOOL_CALL)),
        pa.field("tool_call_id", pa.string()),
        pa.field("name", pa.string()),
    ]
)

DECIDED_SCHEMA_ID = "headrace.decided.v1"
DECIDED_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("revision", pa.int64()),
        pa.field("content_hash", pa.string()),
        pa.field("prompt_hash", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("policy_version", pa.string()),
        pa.field("model", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("loss_mean", pa.float64()),
        pa.field("loss_std", pa.float64()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("response_tokens", pa.int64()),
        pa.field("density", pa.float64()),
        pa.field("duplicate_of", pa.string()),
        pa.field("messages", pa.list_(_MESSAGE)),
        pa.field("tools_json", pa.string()),
        pa.field("reference_json", pa.string()),
        # Not a map: `datasets` has no such type.
        pa.field("attributes", pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())]))),
        pa.field("metadata_json", pa.string()),
        pa.field("origin_kind", pa.string()),
        pa.field("origin_parent_ids", pa.list_(pa.string())),
        pa.field("origin_recipe", pa.string()),
        pa.field("origin_recipe_version", pa.string()),
        pa.field("origin_round", pa.string()),
        pa.field("origin_axis", pa.string()),
        pa.field("origin_entry", pa.string()),
        pa.field("costs", pa.list_(COST)),
        pa.field("submitted_at", pa.timestamp("us", tz="UTC")),
        pa.field("decided_at", pa.timestamp("us", tz="UTC")),
        *POSITION_FIELDS,
        pa.field("dossier", pa.binary()),
    ],
    metadata={"headrace.schema": DECIDED_SCHEMA_ID},
)
"""Accepted and rejected rows. `dossier` is the wire form of the whole `Dossier`, see `headrace.adapters.wire.events`."""

EMBEDDINGS_SCHEMA_ID = "headrace.embeddings.v1"
STAGED_EMBEDDINGS_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("revision", pa.int64()),
        pa.field("content_hash", pa.string()),
        pa.field("prompt_hash", pa.string()),
        pa.field("model", pa.string()),
        pa.field("model_version", pa.string()),
        *POSITION_FIELDS,
        pa.field("prompt", pa.binary()),
        pa.field("conversation", pa.binary()),
    ]
)
"""Embeddings as they are staged: models, hence lengths, may still be mixed."""


def embeddings_schema(dimensions: int) -> pa.Schema:
    """Embeddings of one model as they lie in a version's shards: float32 vectors of unit length."""
    vector = pa.list_(pa.field("element", pa.float32()), dimensions)
    fields = [field.with_type(vector) if field.name in _VECTORS else field for field in STAGED_EMBEDDINGS_SCHEMA]
    return pa.schema(fields, metadata={"headrace.schema": EMBEDDINGS_SCHEMA_ID})


def decided_table(rows: Sequence[tuple[Dossier, Place]]) -> pa.Table:
    """One row per decision, in the given order. Raises ValueError where a dossier has no decision."""
    records = [_decided_record(dossier, place) for dossier, place in rows]
    return pa.Table.from_pylist(records, schema=DECIDED_SCHEMA)


def embeddings_table(rows: Sequence[tuple[IndexedSample, Place]]) -> pa.Table:
    """One staged row per indexed sample, in the given order. Raises ValueError where vectors are not float32 of one length."""
    return pa.Table.from_pylist([_embedding_record(sample, place) for sample, place in rows], schema=STAGED_EMBEDDINGS_SCHEMA)


def with_vectors(staged: pa.Table, dimensions: int) -> pa.Table:
    """Staged embeddings of one model with their bytes read as vectors."""
    schema = embeddings_schema(dimensions)
    columns = [_vectors(staged[name], dimensions) if name in _VECTORS else staged[name] for name in schema.names]
    return pa.table(columns, schema=schema)


_VECTORS = ("prompt", "conversation")


def _vectors(column: pa.ChunkedArray, dimensions: int) -> pa.Array:
    """The same bytes under another type: a fixed-size binary array and a fixed-size list of floats share their layout."""
    width = _FLOAT32_BYTES * dimensions
    fixed = column.combine_chunks().cast(pa.binary(width))
    values = pa.Array.from_buffers(
        pa.float32(), len(fixed) * dimensions, [None, fixed.buffers()[1]], offset=fixed.offset * dimensions
    )
    return pa.FixedSizeListArray.from_arrays(values, type=embeddings_schema(dimensions).field("prompt").type)


def _decided_record(dossier: Dossier, place: Place) -> dict[str, Any]:
    if not dossier.decisions:
        raise ValueError(f"{dossier.sample.key} revision {dossier.sample.revision} carries no decision")
    return {
        **_sample_columns(dossier),
        **_evidence_columns(dossier),
        "costs": cost_records(dossier.costs),
        "submitted_at": round(dossier.submitted_at * _US),
        "decided_at": round(place.time * _US),
        "stream": place.stream,
        "offset": place.offset,
        "dossier": wire.encode(dossier),
    }


def _sample_columns(dossier: Dossier) -> dict[str, Any]:
    sample, origin = dossier.sample, dossier.sample.origin
    return {
        "sample_id": sample.id,
        "revision": sample.revision,
        "content_hash": sample.content_hash,
        "prompt_hash": prompt_hash_of(sample),
        "messages": [_message(message) for message in sample.messages],
        "tools_json": sample.tools_json or None,
        "reference_json": _reference_json(sample.reference),
        "attributes": [{"key": key, "value": sample.attributes[key]} for key in sorted(sample.attributes)],
        "metadata_json": sample.metadata_json or None,
        "origin_kind": origin.kind.value,
        "origin_parent_ids": list(origin.parent_ids),
        "origin_recipe": origin.recipe or None,
        "origin_recipe_version": origin.recipe_version or None,
        "origin_round": origin.round or None,
        "origin_axis": origin.axis or None,
        "origin_entry": origin.entry or None,
    }


def _evidence_columns(dossier: Dossier) -> dict[str, Any]:
    decision, signals, placement = dossier.decisions[-1], dossier.signals_of(CURRENT), dossier.placement
    duplicate_of = placement.duplicate_of if placement else None
    return {
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "detail": decision.detail or None,
        "policy_version": decision.policy_version,
        "model": signals.model if signals else None,
        "model_version": signals.model_version if signals else None,
        "loss_mean": signals.loss_mean if signals else None,
        "loss_std": signals.loss_std if signals else None,
        "prompt_tokens": signals.prompt_tokens if signals else None,
        "response_tokens": signals.response_tokens if signals else None,
        "density": placement.density if placement else None,
        "duplicate_of": duplicate_of.sample_id if duplicate_of else None,
    }


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {
        "role": message.role,
        "content": message.content,
        "tool_calls": calls or None,
        "tool_call_id": message.tool_call_id or None,
        "name": message.name or None,
    }


def _reference_json(reference: Reference | None) -> str | None:
    if reference is None:
        return None
    values = ((name, getattr(reference, name)) for name in _REFERENCE_FIELDS)
    present = {name: value for name, value in values if value}
    return json.dumps(present, ensure_ascii=False, sort_keys=True)


def _embedding_record(sample: IndexedSample, place: Place) -> dict[str, Any]:
    embeddings = sample.embeddings
    size = len(embeddings.prompt)
    if not size or size % _FLOAT32_BYTES or size != len(embeddings.conversation):
        raise ValueError(
            f"{sample.sample_id}: vectors of {size} and {len(embeddings.conversation)} bytes are not float32 of one length"
        )
    return {
        "sample_id": sample.sample_id,
        "revision": sample.revision,
        "content_hash": sample.content_hash,
        "prompt_hash": sample.prompt_hash or None,
        "model": embeddings.model,
        "model_version": embeddings.model_version,
        "stream": place.stream,
        "offset": place.offset,
        "prompt": embeddings.prompt,
        "conversation": embeddings.conversation,
    }


EmbeddingModel = tuple[str, str, int]
"""Name, version and dimensions: what may share a shard."""


def by_model(staged: pa.Table) -> dict[EmbeddingModel, pa.Table]:
    """Staged embeddings apart by model, as vectors."""
    dimensions = pc.cast(pc.divide(pc.binary_length(staged["prompt"]), _FLOAT32_BYTES), pa.int64())
    models = pa.table([staged["model"], staged["model_version"], dimensions], names=["model", "version", "dimensions"])
    tables = {}
    for group in models.group_by(models.column_names).aggregate([]).to_pylist():
        mask = pc.and_(
            pc.and_(*[pc.equal(models[name], group[name]) for name in ("model", "version")]),
            pc.equal(dimensions, group["dimensions"]),
        )
        tables[group["model"], group["version"], group["dimensions"]] = with_vectors(staged.filter(mask), group["dimensions"])
    return tables
