"""A Triton server without a model: the real gRPC interface, answered at once with pseudo-signals.

In a test: `async with StubTriton.running() as stub`; as a process: `python -m tests.fakes.triton_server --address HOST:PORT`.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from tests.fakes.signal_model import (
    JUDGE_TOKENS,
    NO_SCORE,
    PLAIN_TOKENS,
    PSEUDO_RULER,
    REFUSED,
    UNJUDGEABLE,
    PseudoSignals,
    pseudo_plain,
    pseudo_scores,
    pseudo_signals,
)

_MIB = 1024 * 1024
DEADLY = "be the end of it"
"""A conversation with this text ends the process behind the model, and with it whatever else is on its way."""


@dataclass
class StubTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # the base class has no types
    """`models` maps names to the versions that are ready; what it was asked is kept in `rows`, one number per request.

    `judged` counts the rows that were to be judged too. While `is_deadly` every request ends the process behind the model; while
    `is_foreign` every request is refused, as by a model of other inputs.
    """

    models: dict[str, list[str]] = field(default_factory=lambda: {"signals": ["1"], "base": ["1"]})
    embedding_size: int = 576
    delay_s: float = 0.0
    busy: int = 0
    rows: list[int] = field(default_factory=list)
    judged: int = 0
    in_flight: int = 0
    in_flight_most: int = 0
    answers_as: str = ""
    is_dead: bool = False
    is_deadly: bool = False
    is_foreign: bool = False
    lives: int = 1
    address: str = ""

    @classmethod
    @asynccontextmanager
    async def running(cls, address: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[Self]:
        stub = cls(**options)
        async with stub.served(address):
            yield stub

    @asynccontextmanager
    async def served(self, address: str) -> AsyncIterator[None]:
        """Serve until the block ends; port 0 takes a free one, see `address`."""
        limits = [("grpc.max_receive_message_length", 64 * _MIB), ("grpc.max_send_message_length", 64 * _MIB)]
        server = grpc.aio.server(options=limits)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)
        port = server.add_insecure_port(address)
        self.address = f"{address.rpartition(':')[0]}:{port}"
        await server.start()
        try:
            yield
        finally:
            await server.stop(grace=None)

    async def ServerLive(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the interface's name
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the interface's name
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelReady(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the interface's name
        return service_pb2.ModelReadyResponse(ready=self._has(request.name, request.version))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - the interface's name
        await self._require(request.name, request.version, context)
        return service_pb2.ModelMetadataResponse(name=request.name, versions=self.models[request.name], platform="python")

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the interface's name
        await self._require(request.model_name, request.model_version, context)
        if self.busy > 0:
            self.busy -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "[request id: <id_unknown>] Exceeds maximum queue size")
        texts = deserialize_bytes_tensor(request.raw_input_contents[0])
        self.rows.append(len(texts))
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.in_flight -= 1
        if self.is_dead or self.is_deadly or any(DEADLY.encode() in text for text in texts):
            self.is_dead = True
            await context.abort(grpc.StatusCode.INTERNAL, "Stub process 'signals_0_0' is not healthy.")
        if self.is_foreign or any(REFUSED.encode() in text for text in texts):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "asked to be refused")
        version = self.answers_as or request.model_version or self.models[request.model_name][-1]
        columns = _columns([pseudo_signals(text, self.embedding_size) for text in texts])
        asked = {tensor.name for tensor in request.inputs}
        if "JUDGE" in asked:
            self.judged += len(texts)
            columns |= _judge_columns(texts)
        if "PLAIN" in asked:
            columns |= _plain_columns([pseudo_signals(text, self.embedding_size) for text in texts])
        return _response(request.model_name, version, columns)

    async def RepositoryModelUnload(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the interface's name
        return service_pb2.RepositoryModelUnloadResponse()

    async def RepositoryModelLoad(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the interface's name
        self.is_dead, self.lives = False, self.lives + 1
        return service_pb2.RepositoryModelLoadResponse()

    def _has(self, model: str, version: str) -> bool:
        versions = self.models.get(model, [])
        return version in versions if version else bool(versions)

    async def _require(self, model: str, version: str, context: Any) -> None:
        if not self._has(model, version):
            of_version = f" version {version}" if version else ""
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{model}'{of_version} is not found")


def _columns(rows: Sequence[PseudoSignals]) -> dict[str, np.ndarray]:
    return {
        "LOSS_MEAN": np.array([[row.loss_mean] for row in rows], np.float32),
        "LOSS_STD": np.array([[row.loss_std] for row in rows], np.float32),
        "PROMPT_TOKENS": np.array([[row.prompt_tokens] for row in rows], np.int32),
        "RESPONSE_TOKENS": np.array([[row.response_tokens] for row in rows], np.int32),
        "TRUNCATED": np.zeros((len(rows), 1), np.bool_),
        "PROMPT_EMBEDDING": np.stack([row.prompt for row in rows]),
        "CONVERSATION_EMBEDDING": np.stack([row.conversation for row in rows]),
        "ERROR": np.array([[row.error.encode()] for row in rows], np.object_),
    }


def _judge_columns(texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    rows = len(texts)
    errors = [NO_SCORE if UNJUDGEABLE.encode() in text else pseudo_signals(text).error for text in texts]
    return {
        "JUDGEMENT": np.array([pseudo_scores(text) for text in texts], np.float32),
        "JUDGE_MASS": np.full((rows, 1), 0.5, np.float32),
        "JUDGE_TOKENS": np.full((rows, 1), JUDGE_TOKENS, np.int32),
        "JUDGE_TRUNCATED": np.zeros((rows, 1), np.bool_),
        "JUDGE_RULER": np.array([[PSEUDO_RULER.encode()]] * rows, np.object_),
        "JUDGE_ERROR": np.array([[error.encode()] for error in errors], np.object_),
    }


def _plain_columns(rows: Sequence[PseudoSignals]) -> dict[str, np.ndarray]:
    return {
        "PLAIN_EMBEDDING": np.stack([pseudo_plain(row) for row in rows]),
        "PLAIN_TOKENS": np.full((len(rows), 1), PLAIN_TOKENS, np.int32),
    }


def _response(model: str, version: str, columns: dict[str, np.ndarray]) -> Any:
    datatypes = {"f": "FP32", "i": "INT32", "b": "BOOL", "O": "BYTES"}
    response = service_pb2.ModelInferResponse(model_name=model, model_version=version)
    for name, values in columns.items():
        response.outputs.add(name=name, datatype=datatypes[values.dtype.kind], shape=values.shape)
        is_text = values.dtype.kind == "O"
        response.raw_output_contents.append(serialize_byte_tensor(values).item() if is_text else values.tobytes())
    return response


async def _serve(address: str, stub: StubTriton) -> None:
    async with stub.served(address):
        print(stub.address, flush=True)  # noqa: T201 - port 0 takes a free one
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.triton_server", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:0", help="where to listen; port 0 takes a free one and prints it")
    parser.add_argument("--delay-s", type=float, default=0.0, help="time that every request takes")
    parser.add_argument("--embedding-size", type=int, default=576)
    parser.add_argument("--versions", type=int, default=1, help="versions of the model `signals`, all of which measure alike")
    arguments = parser.parse_args()
    models = {"signals": [str(number + 1) for number in range(arguments.versions)], "base": ["1"]}
    stub = StubTriton(models=models, delay_s=arguments.delay_s, embedding_size=arguments.embedding_size)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.address, stub))


if __name__ == "__main__":
    main()
