"""The columns of retractions: which revisions of which samples belong to a dataset no longer, and who said why."""

from collections.abc import Sequence

import pyarrow as pa

from headrace.adapters.versions.sample_rows import POSITION_FIELDS
from headrace.core.retractions import RetractionRequested
from headrace.core.staged import Place

_US = 1_000_000

RETRACTIONS_SCHEMA_ID = "headrace.retractions.v1"
RETRACTIONS_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("revision", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("note", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("requested_by", pa.string()),
        pa.field("requested_at", pa.timestamp("us", tz="UTC")),
        *POSITION_FIELDS,
    ],
    metadata={"headrace.schema": RETRACTIONS_SCHEMA_ID},
)
"""One row a sample: its revisions up to `revision` are out, whenever they were or will be accepted."""


def retractions_table(rows: Sequence[tuple[RetractionRequested, Place]]) -> pa.Table:
    """One row per request, in the given order."""
    return pa.Table.from_pylist([_record(asked, place) for asked, place in rows], schema=RETRACTIONS_SCHEMA)


def _record(asked: RetractionRequested, place: Place) -> dict[str, object]:
    return {
        "sample_id": asked.sample_id,
        "revision": asked.revision,
        "reason": asked.reason,
        "note": asked.note or None,
        "request_id": asked.request_id,
        "requested_by": asked.requested_by,
        "requested_at": round(place.time * _US),
        "stream": place.stream,
        "offset": place.offset,
    }
