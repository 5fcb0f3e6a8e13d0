"""A gateway in this process, on real sockets, in front of a publisher that keeps what it is given."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field

import aiohttp
import grpc

from headrace.client.submission import ADMITTED
from headrace.core.policies import Policy
from headrace.runtime.telemetry import Telemetry
from headrace_protos.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from services.gateway.app import serving
from services.gateway.door import Door
from services.gateway.edge import Edge
from services.gateway.lag import LagGate
from services.gateway.outbox import Outbox
from services.gateway.protobuf import read_protobuf
from services.gateway.settings import GatewaySettings
from services.gateway.streams import Streams
from services.gateway.tokens import Tokens
from tests.fakes.publisher import FakePublisher

HOST = "127.0.0.1"


def sample(text="4", **fields):
    """A sample as a line is made of it."""
    return {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": text}]} | fields


def lines(*samples):
    """JSON Lines."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in samples)


@dataclass
class Gateway:
    """A running gateway and what its clients need."""

    edge: Edge
    publisher: FakePublisher
    policies: dict[str, Policy]
    grpc_port: int
    http_port: int
    exits: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def url(self):
        return f"http://{HOST}:{self.http_port}"

    async def post(self, body, dataset="demo", headers=None, **params):
        """Status, headers and result lines (or the error object) of one POST."""
        async with aiohttp.ClientSession() as session:
            url = f"{self.url}/v1/datasets/{dataset}/samples"
            async with session.post(url, data=body, headers=headers, params=params) as response:
                text = await response.text()
                results = [json.loads(line) for line in text.splitlines()]
                return response.status, response.headers, results

    async def ingest(self, *requests, bearer=None):
        """The responses to these requests on one stream."""
        metadata = (("authorization", f"Bearer {bearer}"),) if bearer else None
        async with self.channel() as channel:
            call = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(metadata=metadata)
            if ADMITTED in dict(await call.initial_metadata()):  # a write to a stream that is refused would hide its status
                writing = asyncio.create_task(_write(call, requests))
                responses = [response async for response in call]
                await writing
                return responses
            return [await call.read()]  # raises the status

    def channel(self, *options):
        return grpc.aio.insecure_channel(f"{HOST}:{self.grpc_port}", options=options)


async def _write(call, requests):
    for each in requests:
        await call.write(each)
    await call.done_writing()


def request(ref, text="4", dataset="demo", **fields):
    """One gRPC request with a JSON body."""
    return ingest_pb2.IngestRequest(ref=ref, dataset_id=dataset, json=json.dumps(sample(text, **fields)).encode())


async def started(stack, *, clock=time.time, **settings):
    """A gateway with these settings; `stack` stops it."""
    chosen = GatewaySettings(**({"grpc_port": 0, "http_port": 0, "dataset_wait_s": 0, "stop_s": 2} | settings))
    publisher, policies, telemetry = FakePublisher(), {"demo": Policy(), "other": Policy()}, Telemetry()
    door = Door(policies=policies, limits=chosen.intake_limits(), clock=clock, read_protobuf=read_protobuf)
    outbox = Outbox(
        publisher, in_flight_bytes_max=chosen.in_flight_bytes_max, publish_s_max=chosen.publish_s_max, telemetry=telemetry
    )
    tokens = Tokens(chosen.tokens_file, clock=clock)
    streams, gate = Streams(chosen.streams_max, telemetry), LagGate(chosen.lag_max, telemetry)
    edge = Edge(chosen, door, outbox, tokens, streams, gate, telemetry, clock)
    exits = contextlib.AsyncExitStack()
    stack.push_async_callback(exits.aclose)
    ports = await exits.enter_async_context(serving(edge, HOST))
    return Gateway(edge, publisher, policies, *ports, exits)


async def eventually(condition, seconds=5.0):
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions do not tell
            await asyncio.sleep(0.01)
