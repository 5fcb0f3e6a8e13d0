"""Puts the gateway together: the only place where its parts meet settings, sockets and Kafka."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from headrace.adapters.kafka.streams import EventPublisher
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.background import background
from headrace.runtime.service import Ping, Service
from headrace_protos.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from services.gateway.door import Door
from services.gateway.edge import Edge
from services.gateway.handlers import ingest_handler
from services.gateway.lag import LagGate
from services.gateway.outbox import Outbox
from services.gateway.protobuf import read_protobuf
from services.gateway.routes import application
from services.gateway.servicer import IngestServicer
from services.gateway.settings import GatewaySettings
from services.gateway.spine import spine_lag
from services.gateway.streams import Streams
from services.gateway.subscribers import NAME, subscriptions
from services.gateway.tokens import Tokens, TokensUnusable, check_exposure

_log = logging.getLogger("headrace.gateway")
_GRPC_SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
_KEEPALIVE_MS = 60_000
_STREAMS_SPARE = 16  # for one connection: a stream too many gets its answer instead of waiting


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """The gateway, listening.

    Raises:
        CannotStart: it would be open to other machines, the tokens file cannot be used, or a port is taken.
    """
    settings = GatewaySettings()
    tokens = _tokens(settings, runtime.settings.host)
    async with AsyncExitStack() as stack:
        kafka, start_s = runtime.settings.kafka, runtime.settings.kafka_start_s
        publishing = EventPublisher(kafka, f"headrace/{NAME}", start_s=start_s, large_bodies=runtime.large_bodies)
        publisher = await stack.enter_async_context(publishing)
        read_lag = await stack.enter_async_context(spine_lag(kafka, start_s))
        await runtime.policies.start()
        edge = Edge(
            settings,
            Door(
                policies=runtime.policies.policies,
                limits=settings.intake_limits(),
                clock=time.time,
                read_protobuf=read_protobuf,
            ),
            Outbox(
                publisher,
                in_flight_bytes_max=settings.in_flight_bytes_max,
                publish_s_max=settings.publish_s_max,
                telemetry=runtime.telemetry,
            ),
            tokens,
            Streams(settings.streams_max, runtime.telemetry),
            LagGate(settings.lag_max, runtime.telemetry),
            runtime.telemetry,
        )
        pings: dict[str, Ping] = {
            "kafka": publisher.ping,
            "policies": runtime.policies.ping,
            "lag": background(stack, edge.gate.follow(read_lag, settings.lag_poll_s), "following the spine's lag"),
        }
        if not tokens.open:
            pings["tokens"] = background(stack, tokens.follow(settings.tokens_poll_s), "following the tokens file")
        await stack.enter_async_context(serving(edge, runtime.settings.host))
        handler = ingest_handler(edge.door, edge.gate.passed, settings.lag_pause_s_max)
        yield Service(NAME, subscriptions(handler), pings)


@asynccontextmanager
async def serving(edge: Edge, host: str) -> AsyncIterator[tuple[int, int]]:
    """Both entries, listening; the ports of gRPC and HTTP.

    At the end nothing more is read, and what was read is answered, as far as that goes within HEADRACE_GATEWAY_STOP_S.

    Raises:
        CannotStart: a port is taken.
    """
    settings = edge.settings
    server, grpc_health = await _grpc_server(edge)
    runner = web.AppRunner(
        application(edge), access_log=None, auto_decompress=False, handler_cancellation=True, shutdown_timeout=1
    )
    await runner.setup()
    try:
        grpc_port = _bound(server, host, settings.grpc_port)
        site = web.TCPSite(runner, host, settings.http_port)
        try:
            await site.start()
        except OSError as error:
            raise CannotStart(f"HEADRACE_GATEWAY_HTTP_PORT {settings.http_port} on {host}: {error}") from error
        await server.start()
        http_port = int(runner.addresses[0][1])
        _log.info("gRPC on %s:%d, HTTP on http://%s:%d", host, grpc_port, host, http_port)
        yield grpc_port, http_port
    finally:
        await grpc_health.enter_graceful_shutdown()
        await edge.streams.drain(settings.stop_s)
        await server.stop(grace=1)
        await runner.cleanup()


def _tokens(settings: GatewaySettings, host: str) -> Tokens:
    try:
        check_exposure(host, settings.tokens_file)
        return Tokens(settings.tokens_file)
    except TokensUnusable as error:
        raise CannotStart(str(error)) from error


async def _grpc_server(edge: Edge) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", edge.settings.grpc_message_bytes_max),
            ("grpc.max_concurrent_streams", edge.settings.streams_max + _STREAMS_SPARE),
            ("grpc.so_reuseport", 0),  # else a second gateway would silently share the port
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),  # a dead peer's stream ends, an idle one may live
            ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 6),
        ]
    )
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(IngestServicer(edge), server)  # type: ignore[no-untyped-call] # generated
    servicer = health.aio.HealthServicer()
    for name in ("", _GRPC_SERVICE):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return server, servicer


def _bound(server: grpc.aio.Server, host: str, port: int) -> int:
    try:
        bound: int = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise CannotStart(f"HEADRACE_GATEWAY_GRPC_PORT {port} on {host}: {error}") from error
    return bound
