"""Qdrant behind a server: for several replicas, and for more points than one machine holds."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from headrace.adapters.vector_index.engine import (
    CANDIDATES,
    CONVERSATION,
    INTEGERS,
    KEYWORDS,
    OVERSAMPLING,
    PROMPT,
    Hit,
    Payload,
    Point,
    Search,
)
from headrace.core.events import Stop

_PAGE = 4_096
_POINTS_AT_A_TIME = 256
_PARAMS = models.SearchParams(
    hnsw_ef=CANDIDATES, quantization=models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
)
_INT8 = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
)
_CONFLICT = 409
_SERVER_ERROR = 500
_TOO_MANY = 429
_TRANSPORT_ERRORS = (ResponseHandlingException, grpc.aio.AioRpcError, httpx.TransportError, TimeoutError, ConnectionError)


class ServerEngine:
    """`Engine` over `qdrant-client`. Every write waits until it is visible.

    Writes are ordered strongly and reads ask for consistent answers, so that with replicated collections too a reader sees
    what was written before.
    """

    def __init__(self, client: AsyncQdrantClient, *, replicas: int = 1) -> None:
        self._client = client
        self._replicas = replicas

    async def names(self) -> Collection[str]:
        async with _reached():
            return [each.name for each in (await self._client.get_collections()).collections]

    async def create(self, name: str, dimensions: int, *, searched: bool) -> None:
        async with _reached():
            if not await self._client.collection_exists(name):
                await self._create(name, dimensions, searched=searched)
            # Repeated where a creator died half-way: an index that is there stays.
            for field_name in KEYWORDS:
                keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, enable_hnsw=False)
                await self._client.create_payload_index(name, field_name, keyword, wait=True)
            for field_name in INTEGERS:
                integer = models.IntegerIndexParams(
                    type=models.IntegerIndexType.INTEGER, lookup=True, range=True, enable_hnsw=False
                )
                await self._client.create_payload_index(name, field_name, integer, wait=True)

    async def drop(self, name: str) -> None:
        async with _reached():
            await self._client.delete_collection(name)

    async def add(self, name: str, points: Sequence[Point]) -> None:
        await self._upsert(name, points, models.UpdateMode.INSERT_ONLY)

    async def put(self, name: str, points: Sequence[Point]) -> None:
        await self._upsert(name, points, models.UpdateMode.UPSERT)

    async def get(self, name: str, ids: Sequence[str], *, vectors: bool) -> dict[str, Point]:
        if not ids:
            return {}
        async with _reached():
            records = await self._client.retrieve(
                name, list(ids), with_payload=True, with_vectors=vectors, consistency=models.ReadConsistencyType.MAJORITY
            )
        return {str(record.id): _point(record) for record in records}

    async def find(self, name: str, any_of: Mapping[str, Collection[str | int]]) -> list[Point]:
        if not any(any_of.values()):
            return []
        wanted: list[models.Condition] = [
            models.FieldCondition(key=field_name, match=models.MatchAny(any=list(values)))
            for field_name, values in any_of.items()
            if values
        ]
        vectors = [CONVERSATION] if name.endswith(".accepted") else False
        points: list[Point] = []
        offset: Any = None
        while True:
            async with _reached():
                records, offset = await self._client.scroll(
                    name,
                    scroll_filter=models.Filter(should=wanted),
                    limit=_PAGE,
                    offset=offset,
                    with_payload=True,
                    with_vectors=vectors,
                    consistency=models.ReadConsistencyType.MAJORITY,
                )
            points += [_point(record) for record in records]
            if offset is None:
                return points

    async def search(self, name: str, searches: Sequence[Search]) -> list[list[Hit]]:
        if not searches:
            return []
        requests = [
            models.QueryRequest(
                query=each.vector.tolist(),
                using=each.by,
                filter=None if each.order_below is None else _below("order", each.order_below),
                limit=each.limit,
                score_threshold=each.cosine_min,
                with_payload=True,
                params=_PARAMS,
            )
            for each in searches
        ]
        async with _reached():
            answers = await self._client.query_batch_points(name, requests, consistency=models.ReadConsistencyType.MAJORITY)
        return [[Hit(_payload(hit.payload), hit.score) for hit in answer.points] for answer in answers]

    async def tally(self, name: str, field_name: str, values: Collection[str]) -> dict[str, int]:
        if not values:
            return {}
        condition = models.FieldCondition(key=field_name, match=models.MatchAny(any=list(values)))
        async with _reached():
            answer = await self._client.facet(
                name, field_name, facet_filter=models.Filter(must=[condition]), limit=len(values), exact=True
            )
        return {str(hit.value): hit.count for hit in answer.hits}

    async def count(self, name: str, field_name: str | None = None) -> int:
        # Counting all points exactly walks through all of them; the estimate of all is the sum of the segments' sizes.
        condition = None if field_name is None else _range(field_name, gte=-1)
        async with _reached():
            return (await self._client.count(name, condition, exact=field_name is not None)).count

    async def least(self, name: str, field_name: str) -> int | None:
        order = models.OrderBy(key=field_name, direction=models.Direction.ASC)
        async with _reached():
            records, _ = await self._client.scroll(name, limit=1, order_by=order, with_payload=[field_name])
        return int(_payload(records[0].payload)[field_name]) if records else None

    async def remove_below(self, name: str, field_name: str, bound: int) -> int:
        condition = _below(field_name, bound)
        async with _reached():
            there = (await self._client.count(name, condition, exact=True)).count
            if there:
                await self._client.delete(name, condition, wait=True, ordering=models.WriteOrdering.STRONG)
        return there

    async def ping(self) -> None:
        async with _reached():
            await self._client.get_collections()

    async def close(self) -> None:
        await self._client.close()

    async def _create(self, name: str, dimensions: int, *, searched: bool) -> None:
        vectors = {
            each: models.VectorParams(size=dimensions, distance=models.Distance.DOT, on_disk=searched or None)
            for each in (PROMPT, CONVERSATION)
        }
        try:
            await self._client.create_collection(
                name, vectors_config=vectors, replication_factor=self._replicas, quantization_config=_INT8 if searched else None
            )
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:  # another replica was first
                raise
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise

    async def _upsert(self, name: str, points: Sequence[Point], mode: models.UpdateMode) -> None:
        for start in range(0, len(points), _POINTS_AT_A_TIME):
            structs = [
                models.PointStruct(
                    id=point.id,
                    vector={each: vector.tolist() for each, vector in point.vectors.items()},
                    payload=dict(point.payload),
                )
                for point in points[start : start + _POINTS_AT_A_TIME]
            ]
            async with _reached():
                await self._client.upsert(name, structs, wait=True, ordering=models.WriteOrdering.STRONG, update_mode=mode)


@asynccontextmanager
async def _reached() -> AsyncIterator[None]:
    """A server that cannot be reached, is overloaded or fails stops the caller; a request that it refuses is a bug."""
    try:
        yield
    except _TRANSPORT_ERRORS as error:
        raise Stop(f"the vector index cannot be reached: {error}") from error
    except UnexpectedResponse as error:
        if error.status_code is None or error.status_code >= _SERVER_ERROR or error.status_code == _TOO_MANY:
            raise Stop(f"the vector index fails: {error}") from error
        raise
    except ApiException as error:
        raise Stop(f"the vector index fails: {error}") from error


def _below(field_name: str, bound: int) -> models.Filter:
    return _range(field_name, lt=bound)


def _range(field_name: str, *, lt: float | None = None, gte: float | None = None) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=field_name, range=models.Range(lt=lt, gte=gte))])


def _payload(payload: Any) -> Payload:
    return payload or {}


def _point(record: Any) -> Point:
    named = record.vector if isinstance(record.vector, dict) else {}
    return Point(
        str(record.id), _payload(record.payload), {name: np.asarray(vector, np.float32) for name, vector in named.items()}
    )
