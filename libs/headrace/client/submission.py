"""Sending samples to Headrace: a stream over gRPC that answers for each one and outlives the gateway's restarts.

    from headrace.client import Refused, submit

    async for answer in submit("math", samples, gateway="gateway:8091", token=TOKEN):
        if isinstance(answer, Refused):
            print(answer.ref, answer.code, answer.error)

`submit_sync` is the same for programs without an event loop. Where no gateway is named, neither here nor in HEADRACE_GATEWAY, it
is that of the stack that `headrace up` started here.
"""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc

from headrace.client.limits import ClientSettings, found_settings
from headrace_protos.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from headrace_protos.sample.v1 import sample_pb2

WINDOW = 256
PATIENCE_S = 60.0
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
"""What a gateway takes in one message unless told otherwise (HEADRACE_GATEWAY_GRPC_MESSAGE_BYTES_MAX)."""

ADMITTED = "headrace-admitted"
"""In the initial metadata of a stream whose caller was let in."""

_RETRY_S_MIN, _RETRY_S_MAX = 0.1, 3.0
# INTERNAL is what this client's own failed write looks like when the gateway has just gone away.
_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}

Given = Mapping[str, Any] | str | bytes | sample_pb2.Sample
"""A sample: an object in any accepted form, its JSON text or bytes, or the protobuf message."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Kafka has the sample. `ref` is its place among those given, from 0."""

    ref: int
    sample_id: str
    revision: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The sample was turned away at the door: `code` is stable, `error` is for people. Sent again it would be refused again."""

    ref: int
    code: str
    error: str


Answer = Submitted | Refused


class NotSubmitted(Exception):
    """The gateway cannot be reached, or lets nobody in with this token. `unanswered` samples may or may not have arrived.

    Sending the same samples again is safe: they keep their identity.
    """

    def __init__(self, message: str, unanswered: int) -> None:
        super().__init__(message)
        self.unanswered = unanswered


async def submit(
    dataset: str,
    samples: Iterable[Given] | AsyncIterable[Given],
    *,
    gateway: str | None = None,
    token: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    window: int = WINDOW,
    patience_s: float = PATIENCE_S,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> AsyncGenerator[Answer, None]:
    """Send samples to a dataset; yields one answer for each as it comes, at most `window` of them unanswered at a time.

    `gateway` is host:port, or a port of this machine, by default HEADRACE_GATEWAY; `token` is by default HEADRACE_TOKEN; with
    `credentials` the connection is TLS. While the gateway is away the samples without an
    answer are sent again, under the same identity, until nothing has been answered for `patience_s` seconds.
    An answer may come out of order only after a retry.

    Raises:
        NotSubmitted: the gateway stayed away, or refuses the caller.
        TypeError, ValueError: a sample is of another type, or cannot be written as JSON.
    """
    settings = ClientSettings() if gateway else found_settings()
    target = gateway or settings.gateway
    target = target if ":" in target else f"127.0.0.1:{target}"
    submission = _Submission(dataset, samples, token or settings.token, window, patience_s, message_bytes_max)
    options = (("grpc.max_send_message_length", -1), ("grpc.keepalive_time_ms", 60_000))
    secure = grpc.aio.secure_channel(target, credentials, options) if credentials else None
    async with secure or grpc.aio.insecure_channel(target, options) as channel, aclosing(submission.answers(channel)) as answers:
        async for batch in answers:
            for answer in batch:
                yield answer


def submit_sync(
    dataset: str,
    samples: Iterable[Given],
    *,
    gateway: str | None = None,
    token: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    window: int = WINDOW,
    patience_s: float = PATIENCE_S,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> Iterator[Answer]:
    """`submit` for programs without an event loop; work goes on while the caller asks for answers.

    Raises:
        RuntimeError: called inside a running event loop; use `submit` there.
        NotSubmitted, TypeError, ValueError: as `submit`.
    """
    answers = submit(
        dataset,
        samples,
        gateway=gateway,
        token=token,
        credentials=credentials,
        window=window,
        patience_s=patience_s,
        message_bytes_max=message_bytes_max,
    )

    async def following() -> Answer | None:
        return await anext(answers, None)

    with asyncio.Runner() as runner:
        try:
            while (answer := runner.run(following())) is not None:
                yield answer
        finally:
            runner.run(answers.aclose())


class _Submission:
    """The samples of one call to `submit` and where each of them stands, over as many streams as it takes."""

    def __init__(
        self,
        dataset: str,
        samples: Iterable[Given] | AsyncIterable[Given],
        token: str,
        window: int,
        patience_s: float,
        message_bytes_max: int,
    ) -> None:
        self._dataset = dataset
        self._samples = samples
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._room = asyncio.Semaphore(window)
        self._patience_s = patience_s
        self._message_bytes_max = message_bytes_max
        self._unanswered: dict[int, ingest_pb2.IngestRequest] = {}
        self._unsent: deque[int] = deque()
        self._known: list[Answer] = []
        self._changed = asyncio.Event()
        self._all_given = False
        self._answered = 0
        self._trouble_since: float | None = None

    async def answers(self, channel: grpc.aio.Channel) -> AsyncGenerator[list[Answer], None]:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        feeding = asyncio.create_task(self._feed())
        retry_s = _RETRY_S_MIN
        try:
            while not (self._all_given and not self._unanswered and not self._known):
                before = self._answered
                try:
                    async with aclosing(self._stream(stub)) as batches:
                        async for batch in batches:
                            yield batch
                except grpc.aio.AioRpcError as error:
                    told = f"{error.code().name}: {error.details()}"
                    if error.code() not in _AGAIN:
                        raise NotSubmitted(told, len(self._unanswered)) from error
                    self._be_patient(told)
                    retry_s = _RETRY_S_MIN if self._answered > before else min(2 * retry_s, _RETRY_S_MAX)
                    await asyncio.sleep(retry_s * random.uniform(0.5, 1))  # noqa: S311 - so that clients do not return as one
            await feeding  # an error in the samples is the caller's
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self) -> None:
        """Number the samples and take them in as far as the window allows."""
        try:
            ref = 0
            async for given in _each(self._samples):
                request = _request(ref, self._dataset, given)
                if request.ByteSize() > self._message_bytes_max:
                    told = f"{request.ByteSize()} bytes are more than a gateway takes ({self._message_bytes_max})"
                    self._known.append(Refused(ref, "too_large", told))
                    await asyncio.sleep(0)  # a source of nothing else must not keep everything else waiting
                else:
                    await self._room.acquire()
                    self._unanswered[ref] = request
                    self._unsent.append(ref)
                self._changed.set()
                ref += 1
        finally:
            self._all_given = True
            self._changed.set()

    async def _stream(self, stub: Any) -> AsyncGenerator[list[Answer], None]:
        """One stream, until everything is answered or it breaks."""
        self._unsent = deque(self._unanswered)
        call = stub.Ingest(metadata=self._metadata)
        if ADMITTED not in dict(await call.initial_metadata()):
            await call.read()  # raises the status, which a write in between would have replaced by its own failure
            raise NotSubmitted("whoever answers is no gateway of Headrace", len(self._unanswered))
        if not self._unanswered:
            self._trouble_since = None
        writing = asyncio.create_task(self._write(call))
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                batch = self._taken()
                if answer := self._answer(response):
                    batch.append(answer)
                if batch:
                    yield batch
            yield self._taken()
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)  # the call's status says what went wrong

    async def _write(self, call: Any) -> None:
        while not (self._all_given and not self._unanswered):
            while self._unsent:
                ref = self._unsent.popleft()
                if ref in self._unanswered:
                    await call.write(self._unanswered[ref])
            self._changed.clear()
            if not self._unsent and not (self._all_given and not self._unanswered):
                await self._changed.wait()
        await call.done_writing()

    def _answer(self, response: ingest_pb2.IngestResponse) -> Answer | None:
        """The answer in a response; None where the sample is to be sent again, later."""
        ref = response.ref
        if ref not in self._unanswered:
            return None
        if response.status == ingest_pb2.INGEST_STATUS_UNAVAILABLE:
            self._be_patient(f"{response.error_code}: {response.error}")
            asyncio.get_running_loop().call_later(_RETRY_S_MIN * random.uniform(1, 10), self._send_again, ref)  # noqa: S311 - as above
            return None
        del self._unanswered[ref]
        self._room.release()
        self._answered += 1
        self._trouble_since = None
        self._changed.set()
        if response.status == ingest_pb2.INGEST_STATUS_RECEIVED:
            return Submitted(ref, response.sample_id, response.revision, response.content_hash)
        return Refused(ref, response.error_code, response.error)

    def _send_again(self, ref: int) -> None:
        self._unsent.append(ref)
        self._changed.set()

    def _taken(self) -> list[Answer]:
        taken, self._known = self._known, []
        return taken

    def _be_patient(self, told: str) -> None:
        """Raises NotSubmitted where there has been nothing but trouble for too long."""
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        elif now - self._trouble_since > self._patience_s:
            raise NotSubmitted(f"{told} (for {self._patience_s:g} s)", len(self._unanswered))


async def _each(samples: Iterable[Given] | AsyncIterable[Given]) -> AsyncIterator[Given]:
    if isinstance(samples, AsyncIterable):
        async for given in samples:
            yield given
    else:
        for given in samples:
            yield given


def _request(ref: int, dataset: str, given: Given) -> ingest_pb2.IngestRequest:
    if isinstance(given, sample_pb2.Sample):
        return ingest_pb2.IngestRequest(ref=ref, dataset_id=dataset, sample=given)
    if isinstance(given, Mapping):
        given = json.dumps(dict(given), ensure_ascii=False, separators=(",", ":"))
    raw = given.encode("utf-8") if isinstance(given, str) else bytes(given)
    return ingest_pb2.IngestRequest(ref=ref, dataset_id=dataset, json=raw)
