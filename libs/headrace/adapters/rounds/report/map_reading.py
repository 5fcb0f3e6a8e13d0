"""The map of a report: prompt embeddings of rows that were drawn, and of accepted rewrites, in one plane."""

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.rounds.measured_rows import MeasuredRows, ends_of, slices_up_to
from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.shard_groups import rows_where
from headrace.adapters.rounds.report.table_reading import RowsDrawn
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.report.contents import CODE, EmbeddingMap, Outcome, Outcomes, Points, RewriteSeen
from headrace.core.rounds.report.projection import Vectors, plane_of
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import Survey
from headrace.core.staged import Slice
from headrace.core.versions import Manifest, RowKind, Shard

_SEED = 20_250_903
_FLOAT32_BYTES = 4


async def embedding_map(
    objects: ObjectStore,
    survey: Survey,
    drawn: RowsDrawn,
    rows: int,
    accepted: Sequence[RewriteSeen],
    manifest: Manifest | None,
    limits: ReportLimits,
) -> EmbeddingMap | None:
    """The rows drawn out of the survey's `rows`, and accepted rewrites of the new version; None where no row has an embedding.

    Raises:
        DamagedVersion: an object is missing or damaged.
        Stop: the store is gone.
    """
    measured = await _measured(objects, survey, drawn.sample_ids, limits)
    dimensions = max((len(body) for body in measured.values()), default=0) // _FLOAT32_BYTES
    vectors, outcome = _usable(
        [measured.get(sample_id, b"") for sample_id in drawn.sample_ids.to_pylist()], drawn.outcome, dimensions
    )
    if not len(vectors):
        return None
    chosen = _some(accepted, limits.map_rewrites_max)
    bodies = await _embedded(objects, survey, chosen, manifest) if manifest else [b""] * len(chosen)
    codes = np.array([CODE[Outcome.ADDED if each.axis is Axis.SPARSE else Outcome.REWRITTEN] for each in chosen], dtype=np.int8)
    later, later_outcome = _usable(bodies, codes, dimensions)
    plane = plane_of(vectors)
    places = np.concatenate([plane.of(vectors), plane.of(later)])
    points = Points(places[:, 0], places[:, 1], np.concatenate([outcome, later_outcome]), rows)
    return EmbeddingMap(points, plane.explained, len(vectors), dimensions, len(accepted))


async def _measured(objects: ObjectStore, survey: Survey, wanted: pa.Array, limits: ReportLimits) -> dict[str, bytes]:
    """Embeddings by sample id, from segments drawn by chance where there are more rows than are read for a map."""
    measured = MeasuredRows(objects)
    segments = await measured.segments(survey)
    closed = await measured.closed(survey)
    parts = list(slices_up_to(segments, ends_of(segments) if closed is None else closed))
    found: dict[str, bytes] = {}
    for place in sorted(_within([part.segment.rows for part in parts], limits.map_rows_read_max)):
        found.update(await asyncio.to_thread(_of_slice, measured, survey, parts[place], wanted))
    return found


def _within(rows: Sequence[int], rows_max: int) -> list[int]:
    """Places of segments that have so many rows at most together, drawn by chance; at least one."""
    chosen: list[int] = []
    total = 0
    for place in np.random.default_rng(_SEED).permutation(len(rows)).tolist():
        total += rows[place]
        if chosen and total > rows_max:
            break
        chosen.append(place)
    return chosen


def _of_slice(measured: MeasuredRows, survey: Survey, part: Slice, wanted: pa.Array) -> dict[str, bytes]:
    table = measured.read(survey, part, ("sample_id", "offset", "prompt"))
    table = table.filter(pc.and_(pc.is_in(table["sample_id"], value_set=wanted), pc.is_valid(table["prompt"])))
    return dict(zip(table["sample_id"].to_pylist(), table["prompt"].to_pylist(), strict=True))


def _some(accepted: Sequence[RewriteSeen], count: int) -> list[RewriteSeen]:
    if len(accepted) <= count:
        return list(accepted)
    chosen = np.random.default_rng(_SEED).choice(len(accepted), count, replace=False)
    return [accepted[place] for place in sorted(chosen.tolist())]


async def _embedded(objects: ObjectStore, survey: Survey, wanted: Sequence[RewriteSeen], manifest: Manifest) -> list[bytes]:
    """Each rewrite's embedding under the survey's model version; empty where the version has none."""
    found: dict[tuple[str, int], bytes] = {}
    ids = sorted({each.sample_id for each in wanted})
    for shard in manifest.shards_of(RowKind.EMBEDDINGS):
        if (shard.model, shard.model_version) == (survey.model, survey.model_version) and any(map(shard.may_hold, ids)):
            found |= await asyncio.to_thread(_of_shard, objects, shard, ids)
    return [found.get((each.sample_id, each.revision), b"") for each in wanted]


def _of_shard(objects: ObjectStore, shard: Shard, ids: Sequence[str]) -> dict[tuple[str, int], bytes]:
    wanted = pa.array(ids, pa.string())
    probed = ("sample_id", "revision")
    rows = (
        row
        for table in rows_where(objects, shard, probed, lambda names: pc.is_in(names["sample_id"], value_set=wanted), ["prompt"])
        for row in table.to_pylist()
    )
    return {(row["sample_id"], row["revision"]): np.array(row["prompt"], "<f4").tobytes() for row in rows}


def _usable(bodies: Sequence[bytes], outcome: Outcomes, dimensions: int) -> tuple[Vectors, npt.NDArray[np.int8]]:
    """Embeddings of the right length whose numbers are finite, and what each of them is."""
    fits = [place for place, body in enumerate(bodies) if dimensions and len(body) == dimensions * _FLOAT32_BYTES]
    vectors = np.frombuffer(b"".join(bodies[place] for place in fits), "<f4").reshape(len(fits), dimensions)
    finite = np.isfinite(vectors).all(axis=1)
    return vectors[finite], outcome[np.array(fits, dtype=np.int64)[finite]]
