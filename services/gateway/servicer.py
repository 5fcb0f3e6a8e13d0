"""gRPC `Ingest`: a stream of samples in, one answer for each out, in order, once Kafka has it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from headrace.adapters.wire.envelope import trace_of
from headrace.client.submission import ADMITTED
from headrace.core.dossiers import Dossier
from headrace.core.refusals import RefusalCode, Refused
from headrace_protos.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from services.gateway.edge import Edge
from services.gateway.outbox import Answer, Status, Ticket
from services.gateway.streams import Place, TooManyStreams, Window
from services.gateway.tokens import Caller, Unauthenticated

ENTRY = "grpc"
_DATASETS_WAITED_FOR_MAX = 16
_STATUS = {
    Status.RECEIVED: ingest_pb2.INGEST_STATUS_RECEIVED,
    Status.REFUSED: ingest_pb2.INGEST_STATUS_REFUSED,
    Status.UNAVAILABLE: ingest_pb2.INGEST_STATUS_UNAVAILABLE,
}
Requests = AsyncIterator[ingest_pb2.IngestRequest]


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Serves `IngestService` on an `Edge`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def Ingest(self, request_iterator: Requests, context: Any) -> None:  # noqa: N802 - the contract's name
        """See the contract. The status is UNAVAILABLE when the gateway stops: send the rest again."""
        headers = _texts_of(context.invocation_metadata())
        try:
            caller = self._edge.tokens.authenticate(headers.get("authorization"))
            with self._edge.streams.opened(ENTRY, caller) as place:
                await context.send_initial_metadata(((ADMITTED, "1"),))
                await self._serve(request_iterator, context, caller, trace_of(headers), place)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a message that is no IngestRequest")
        except Unauthenticated as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except TooManyStreams as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        if self._edge.streams.draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway is stopping; send what was not answered again")

    async def _serve(self, requests: Requests, context: Any, caller: Caller, trace: Mapping[str, str], place: Place) -> None:
        window: Window[int] = Window(self._edge.settings.window)
        with self._edge.streams.reading(self._read(requests, caller, trace, window), window) as reader:
            async for batch in window.answers():
                with self._watching(reader, place):
                    for ref, answer in batch:
                        await context.write(_response(ref, answer))  # returns when the client's flow control has taken it
                if place.left:
                    told = "answers were not read (HEADRACE_GATEWAY_ANSWER_STALL_S_MAX)"
                    await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, told)
            await asyncio.wait((reader,))
            if not reader.cancelled() and (error := reader.exception()):
                raise error

    @contextmanager
    def _watching(self, reader: "asyncio.Task[None]", place: Place) -> Iterator[None]:
        """Stop reading from a client that does not read its answers, and free its place.

        A write that flow control holds back can neither be withdrawn nor overtaken by a status, so the call itself ends when
        the client reads on or goes away.
        """

        def stalled() -> None:
            reader.cancel()
            place.leave()

        timer = asyncio.get_running_loop().call_later(self._edge.settings.answer_stall_s_max, stalled)
        try:
            yield
        finally:
            timer.cancel()

    async def _read(self, requests: Requests, caller: Caller, trace: Mapping[str, str], window: Window[int]) -> None:
        seen: set[str] = set()
        async for request in requests:
            dataset_id = request.dataset_id
            if dataset_id not in seen and len(seen) < _DATASETS_WAITED_FOR_MAX:
                seen.add(dataset_id)
                if caller.opens(dataset_id, self._edge.clock()):
                    await self._edge.settle(dataset_id)
            await window.put(request.ref, await self._ticket(request, caller, trace))

    async def _ticket(self, request: ingest_pb2.IngestRequest, caller: Caller, trace: Mapping[str, str]) -> Ticket:
        size = request.ByteSize()
        return await self._edge.take(caller, request.dataset_id, lambda: self._dossier(request), size, ENTRY, trace)

    def _dossier(self, request: ingest_pb2.IngestRequest) -> Dossier:
        body = request.WhichOneof("body")
        if body == "json":
            return self._edge.door.from_json(request.json, request.dataset_id, ENTRY)
        if body == "sample":
            return self._edge.door.from_protobuf(request.sample, request.dataset_id, ENTRY)
        raise Refused(RefusalCode.UNKNOWN_FORMAT, "the request has neither sample nor json")


def _response(ref: int, answer: Answer) -> ingest_pb2.IngestResponse:
    return ingest_pb2.IngestResponse(
        ref=ref,
        status=_STATUS[answer.status],
        sample_id=answer.sample_id,
        revision=answer.revision,
        content_hash=answer.content_hash,
        error_code=answer.code,
        error=answer.error,
    )


def _texts_of(metadata: Any) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}
