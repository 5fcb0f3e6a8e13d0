"""One shard of Qdrant's engine in process: how it is made and opened, and our points and filters in its words."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import qdrant_edge as qe

from headrace.adapters.vector_index.engine import (
    CANDIDATES,
    CONVERSATION,
    INTEGERS,
    KEYWORDS,
    OVERSAMPLING,
    PROMPT,
    Hit,
    Point,
    Search,
)
from headrace.adapters.vector_index.log import DamagedIndex

_GRAPH_FROM_KIB = 1_000
"""A part with less than this in vectors is scanned; a graph over it would not be faster."""

_LINKS = 24
_LINK_CANDIDATES = 100
"""With fewer links some points far from the others are reached from nowhere, and a near-duplicate of one would not be found."""

_PARAMS = qe.SearchParams(hnsw_ef=CANDIDATES, quantization=qe.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING))

_PAGE = 2_000

_BLOCK_BYTES = 1024 * 1024
_READ_IN_PLACES = "*.dat"
"""Vectors and payloads, which stay on the disk, and flags, which are small."""


def create(path: Path, dimensions: int) -> qe.EdgeShard:
    """A new, empty shard; the folder must not hold one."""
    path.mkdir(parents=True)
    shard = qe.EdgeShard.create(str(path), _config(dimensions))
    # Payload links in the graph would serve filtered search, which only the pending collections use, and they are small;
    # they make building the graph several times slower.
    for name in KEYWORDS:
        shard.update(qe.UpdateOperation.create_field_index(name, qe.KeywordIndexParams(enable_hnsw=False)))
    for name in INTEGERS:
        shard.update(
            qe.UpdateOperation.create_field_index(name, qe.IntegerIndexParams(lookup=True, range=True, enable_hnsw=False))
        )
    return shard


def load(path: Path) -> qe.EdgeShard:
    """An existing shard. The engine replays its write-ahead log, so what a killed process had written is there.

    Raises:
        DamagedIndex: it cannot be read.
    """
    try:
        _read_ahead(path / "segments")
        return qe.EdgeShard.load(str(path))
    except Exception as error:  # the engine has no errors of its own: whatever it says, the shard cannot be used
        raise DamagedIndex(path, error) from error


def write(shard: qe.EdgeShard, points: Sequence[Point], *, only_new: bool) -> None:
    """Add points, or put them in the place of those of the same ids."""
    mode = qe.UpdateMode.InsertOnly if only_new else qe.UpdateMode.Upsert
    if points:
        shard.update(qe.UpdateOperation.upsert_points([_edge_point(point) for point in points], update_mode=mode))


def remove(shard: qe.EdgeShard, ids: Iterable[str]) -> None:
    """Remove points, where they are there."""
    shard.update(qe.UpdateOperation.delete_points(list(ids)))


def get(shard: qe.EdgeShard, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
    """The points that are there."""
    records = shard.retrieve(list(ids), with_payload=True, with_vector=vectors)
    return {str(record.id): _point(record) for record in records}


def scroll(shard: qe.EdgeShard, condition: qe.Filter | None, with_vector: list[str]) -> Iterable[list[Point]]:
    """All points that match, with these of their vectors, page by page."""
    offset = None
    while True:
        request = qe.ScrollRequest(offset=offset, limit=_PAGE, filter=condition, with_payload=True, with_vector=with_vector)
        records, offset = shard.scroll(request)
        yield [_point(record) for record in records]
        if offset is None:
            return


def search(shard: qe.EdgeShard, searches: Sequence[Search]) -> list[list[tuple[str, Hit]]]:
    """The hits of each search with their ids, best first."""
    queries = [
        qe.QueryRequest(
            limit=each.limit,
            query=qe.Query.Nearest(each.vector.tolist(), using=each.by),
            filter=None if each.order_below is None else below("order", each.order_below),
            score_threshold=each.cosine_min,
            with_payload=True,
            params=_PARAMS,
        )
        for each in searches
    ]
    answers = shard.query_batch(qe.QueryBatchRequest(queries))
    return [[(str(hit.id), Hit(hit.payload or {}, hit.score)) for hit in answer] for answer in answers]


def count(shard: qe.EdgeShard, condition: qe.Filter | None) -> int:
    """How many points match. Counting all of them exactly would walk through all of them, so the engine's own sum is taken."""
    if condition is None:
        total: int = shard.info().points_count
        return total
    matching: int = shard.count(qe.CountRequest(exact=True, filter=condition))
    return matching


def tally(shard: qe.EdgeShard, field_name: str, values: Collection[str]) -> dict[str, int]:
    """How many points have each of the values. All that match are listed at once, unless they are many."""
    request = qe.ScrollRequest(limit=_PAGE, filter=any_of({field_name: values}), with_payload=[field_name])
    records, more = shard.scroll(request)
    if more is not None:
        return {value: count(shard, any_of({field_name: [value]})) for value in values}
    found = Counter(str((record.payload or {})[field_name]) for record in records)
    return {value: found[value] for value in values}


def least(shard: qe.EdgeShard, field_name: str) -> int | None:
    """The least value of an integer field."""
    request = qe.ScrollRequest(limit=1, with_payload=[field_name], order_by=qe.OrderBy(field_name, qe.Direction.Asc))
    records, _ = shard.scroll(request)
    return int((records[0].payload or {})[field_name]) if records else None


def any_of(values: Mapping[str, Collection[str | int]]) -> qe.Filter:
    """Points with one of the values in one of the fields."""
    conditions = [qe.FieldCondition(name, match=qe.MatchAny(cast("Any", list(each)))) for name, each in values.items() if each]
    return qe.Filter(should=list(conditions))


def below(field_name: str, bound: int) -> qe.Filter:
    """Points whose integer field is there and below the bound."""
    return qe.Filter(must=[qe.FieldCondition(field_name, range=qe.RangeFloat(lt=bound))])


def having(field_name: str) -> qe.Filter:
    """Points whose integer field is there."""
    return qe.Filter(must=[qe.FieldCondition(field_name, range=qe.RangeFloat(gte=-1))])


def _read_ahead(path: Path) -> None:
    """Bring to memory what the engine is about to read whole: page by page, as it does, that takes five times as long.

    It has the system forget these pages once it has them, so they are never there when a shard is opened again.
    """
    block = memoryview(bytearray(_BLOCK_BYTES))
    for file in path.rglob("*"):
        if file.is_file() and not file.match(_READ_IN_PLACES):
            with file.open("rb", buffering=0) as read:
                while read.readinto(block):
                    pass


def _config(dimensions: int) -> qe.EdgeConfig:
    # Dot, not cosine: vectors have unit length already, and the engine gives dot vectors back bit for bit.
    vectors = {name: qe.EdgeVectorParams(dimensions, qe.Distance.Dot) for name in (PROMPT, CONVERSATION)}
    return qe.EdgeConfig(
        vectors=vectors,
        max_search_threads=1,  # a search takes a tenth of a millisecond: waking threads costs more than they save
        quantization_config=qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=qe.Memory.Pinned),
        hnsw_config=qe.HnswIndexConfig(m=_LINKS, ef_construct=_LINK_CANDIDATES, full_scan_threshold=_GRAPH_FROM_KIB),
        optimizers=qe.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=1_000_000_000, indexing_threshold=_GRAPH_FROM_KIB
        ),
    )


def _edge_point(point: Point) -> qe.Point:
    vectors = {name: vector.tolist() for name, vector in point.vectors.items()}
    return qe.Point(point.id, vectors, dict(point.payload))


def _point(record: Any) -> Point:
    vectors = {name: np.asarray(vector, np.float32) for name, vector in (record.vector or {}).items()}
    return Point(str(record.id), record.payload or {}, vectors)
