"""What a subscriber gets as Arrow record batches: the columns of a version's rows, and `retracted`."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headrace.adapters.versions.sample_rows import DECIDED_SCHEMA, decided_table
from headrace.adapters.wire.fields import Undecodable
from headrace.client.accepted import Accepted, Retracted
from headrace.client.chunks import Chunk
from headrace.client.limits import UnreadableRecord
from headrace.core.dossiers import Dossier
from headrace.core.staged import Place

_ALWAYS = ("sample_id", "revision", "retracted")
_UNKNOWN_TO_THE_TOPIC = ("stream", "offset", "decided_at")
_KNOWN = {field.name: field for field in DECIDED_SCHEMA if field.name not in _UNKNOWN_TO_THE_TOPIC} | {
    "retracted": pa.field("retracted", pa.string())
}
_NOWHERE = Place("", 0, 0.0)


def batch_schema(columns: Sequence[str] | None) -> pa.Schema:
    """Sample id, revision and `retracted`, then the columns asked for; all but the dossier where None are named.

    Raises:
        ValueError: there is no such column.
    """
    asked = [name for name in _KNOWN if name != "dossier"] if columns is None else list(columns)
    if unknown := [name for name in asked if name not in _KNOWN]:
        raise ValueError(f"accepted samples have no column {', '.join(unknown)}: there are {', '.join(_KNOWN)}")
    return pa.schema([_KNOWN[name] for name in dict.fromkeys((*_ALWAYS, *asked))])


def of_rows(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A version's rows; columns that were not known yet when it was cut are null."""
    there = set(rows.schema.names)
    arrays = [rows[field.name] if field.name in there else pa.nulls(rows.num_rows, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def of_records(chunk: Chunk, schema: pa.Schema, topic: str) -> pa.RecordBatch:
    """A topic's items in their order.

    Raises:
        UnreadableRecord: an acceptance holds something that this release does not know.
    """
    decided: list[tuple[Dossier, Place]] = []
    retracted: list[dict[str, str | int]] = []
    order: list[tuple[bool, int]] = []
    for item, (partition, following) in zip(chunk.items, chunk.places, strict=True):
        if isinstance(item, Retracted):
            order.append((True, len(retracted)))
            retracted.append({"sample_id": item.sample_id, "revision": item.revision, "retracted": item.reason})
            continue
        order.append((False, len(decided)))
        decided.append((_dossier(item, f"{topic}[{partition}]@{following - 1}"), _NOWHERE))
    accepted = decided_table(decided)
    columns = [accepted[field.name] if field.name != "retracted" else pa.nulls(len(decided), field.type) for field in schema]
    table = pa.concat_tables([pa.table(columns, schema=schema), pa.Table.from_pylist(retracted, schema)])
    if retracted:
        table = table.take(np.array([number + is_retracted * len(decided) for is_retracted, number in order]))
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=schema)


def _dossier(item: Accepted, place: str) -> Dossier:
    try:
        dossier = item.dossier
    except Undecodable as error:
        raise UnreadableRecord(f"{place}: {error}") from error
    if not dossier.decisions:
        raise UnreadableRecord(f"{place}: an acceptance without a decision")
    return dossier
