"""Measured rows of a survey on their way into its signal table: create-only Parquet segments, as decisions are staged.

Which rows belong to a survey is settled once, when its rows are complete: `closed.json` names the last offset of each stream.
What comes later, from a redriven dead letter perhaps, changes nothing any more.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.parquet_rows import read_table
from headrace.adapters.rounds.signal_table import RULER, SIGNAL_TABLE
from headrace.adapters.versions.sample_rows import POSITION_FIELDS
from headrace.adapters.versions.shards import write_segment
from headrace.core.dossiers import BASE, CURRENT, JUDGED
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.rounds.pages import why_not_made
from headrace.core.rounds.stored import closed_key, measured_from, measured_key, measured_prefix
from headrace.core.rounds.surveys import MeasuredSample, Survey
from headrace.core.staged import Place, Segment, Slice, slices
from headrace.core.versions import DamagedVersion, canonical_json

_CLOSED_BYTES_MAX = 1024 * 1024
_FLOAT32_BYTES = 4
_LATER = ("density", "neighbours")

PLAIN_PROMPT = "plain_prompt"
"""The prompt's embedding as plain text, without the chat template: null where the survey did not ask for it."""

MEASURED_ROWS = pa.schema(
    [
        *(field for field in SIGNAL_TABLE if field.name not in _LATER),
        *POSITION_FIELDS,
        pa.field("prompt", pa.binary()),  # last: whoever does not need them reads one piece less
        pa.field(PLAIN_PROMPT, pa.binary()),
    ]
)
"""The signal table's columns as far as they are known of a row alone, where it was read, and its prompt's embeddings."""

_SINCE = (RULER, PLAIN_PROMPT)
"""What segments staged by an earlier release lack."""

Ends = Mapping[str, int]
"""The last offset that counts, by stream."""


def measured_table(rows: Sequence[tuple[MeasuredSample, Place]]) -> pa.Table:
    """One row per measured sample, in the given order."""
    return pa.Table.from_pylist([_record(measured, place) for measured, place in rows], schema=MEASURED_ROWS)


class MeasuredRows:
    """The measured rows of surveys in an object store.

    Methods raise Stop when the store is gone, and DamagedVersion, naming the object, where one is missing or cannot be read.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def stage(self, survey: Survey, stream: str, rows: Sequence[tuple[MeasuredSample, Place]]) -> int:
        """Write one batch's rows of one survey and stream; returns the bytes written. To write them again changes nothing."""
        offsets = [place.offset for _, place in rows]
        segment = Segment(stream, min(offsets), max(offsets), len(rows))
        body = await asyncio.to_thread(lambda: write_segment(measured_table(rows)))
        await self._objects.put_if_absent(measured_key(survey, segment), body)
        return len(body)

    async def segments(self, survey: Survey) -> tuple[Segment, ...]:
        """All segments there are."""
        listed = [measured_from(survey, entry.key) async for entry in self._objects.list(measured_prefix(survey))]
        return tuple(segment for segment in listed if segment)

    async def closed(self, survey: Survey) -> Ends | None:
        """Up to where rows belong to the survey; None while that is not settled."""
        key = closed_key(survey)
        try:
            ends = json.loads((await self._objects.get(key, bytes_max=_CLOSED_BYTES_MAX)).body)
        except ObjectMissing:
            return None
        except (ObjectTooLarge, ValueError) as error:
            raise DamagedVersion(f"{key}: cannot be read: {error}") from error
        if not isinstance(ends, dict) or not all(isinstance(end, int) for end in ends.values()):
            raise DamagedVersion(f"{key}: no offsets by stream")
        return ends

    async def close(self, survey: Survey, ends: Ends) -> bool:
        """Settle it; False where it was settled before, perhaps otherwise."""
        return await self._objects.put_if_absent(closed_key(survey), canonical_json(dict(ends)))

    async def ids(self, survey: Survey) -> pa.Array:
        """The sample ids of all rows there are; some come more than once."""
        segments = await self.segments(survey)
        parts = slices_up_to(segments, ends_of(segments))
        read = [await asyncio.to_thread(self.read, survey, part, ("sample_id", "offset")) for part in parts]
        return pa.chunked_array([each["sample_id"].combine_chunks() for each in read], pa.string()).combine_chunks()

    def read(self, survey: Survey, part: Slice, columns: Sequence[str]) -> pa.Table:
        """Some columns of a slice's rows, in order of their offsets, reading nothing else. Blocks: call it in a thread."""
        table = read_table(self._objects, measured_key(survey, part.segment), columns)
        for name in set(_SINCE).intersection(columns).difference(table.column_names):
            table = table.append_column(name, pa.nulls(table.num_rows, MEASURED_ROWS.field(name).type))
        table = table.select(list(columns))
        offsets = table["offset"]
        return table.filter(pc.and_(pc.greater(offsets, part.after), pc.less_equal(offsets, part.upto)))


def ends_of(segments: Sequence[Segment]) -> Ends:
    """The last offset of each stream."""
    ends: dict[str, int] = {}
    for segment in segments:
        ends[segment.stream] = max(segment.last, ends.get(segment.stream, -1))
    return ends


def slices_up_to(segments: Sequence[Segment], ends: Ends) -> Iterator[Slice]:
    """Each row up to the ends exactly once, in the order of streams and offsets."""
    for stream in sorted(ends):
        yield from slices([each for each in segments if each.stream == stream], -1, ends[stream])


def usable_vector(vector: bytes) -> bytes | None:
    """An embedding, None where it is none."""
    return vector if vector and len(vector) % _FLOAT32_BYTES == 0 else None


def _record(measured: MeasuredSample, place: Place) -> dict[str, object]:
    current, base = measured.signals_of(CURRENT), measured.signals_of(BASE)
    judgement = current.judgement if current else None
    scores = judgement.scores if judgement and not judgement.error else (None,) * len(JUDGED)
    return {
        "sample_id": measured.sample_id,
        "revision": measured.revision,
        "content_hash": measured.content_hash,
        "prompt_hash": measured.prompt_hash,
        "origin_kind": measured.origin_kind,
        "loss_post": current.loss_mean if current else None,
        "loss_pre": base.loss_mean if base else None,
        **dict(zip(JUDGED, scores, strict=True)),
        "quality": judgement.quality if judgement else None,
        "prompt_tokens": current.prompt_tokens if current else None,
        "response_tokens": current.response_tokens if current else None,
        "truncated": current.truncated if current else None,
        "not_made": why_not_made(measured),
        "merge_key": measured.merge_key or None,
        RULER: (judgement.ruler_hash or None) if judgement else None,
        "stream": place.stream,
        "offset": place.offset,
        "prompt": usable_vector(measured.embeddings.prompt if measured.embeddings else b""),
        PLAIN_PROMPT: usable_vector(measured.plain_prompt),
    }
