"""gRPC Ingest over real sockets."""

import asyncio

import grpc
import pytest
from aiokafka.errors import KafkaTimeoutError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.adapters.wire import events as wire
from headrace.core.samples import Message, content_hash_of
from headrace_protos.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from headrace_protos.sample.v1 import dossier_pb2, sample_pb2
from tests.fakes.gateway import eventually, request

RECEIVED, REFUSED, UNAVAILABLE = 1, 2, 3


async def test_each_sample_gets_one_answer_in_order(gateway):
    """Good ones are received, bad ones refused with a code, and the numbering is the client's."""
    answers = await gateway.ingest(request(7), request(3, "5", id="../x"), request(9, "6", id="p-9", revision=2))
    assert [(answer.ref, answer.status, answer.error_code) for answer in answers] == [
        (7, RECEIVED, ""),
        (3, REFUSED, "bad_id"),
        (9, RECEIVED, ""),
    ]
    assert (answers[2].sample_id, answers[2].revision) == ("p-9", 2)
    first, second = gateway.publisher.dossiers
    assert answers[0].content_hash == first.sample.content_hash
    assert second.sample.origin.entry == "grpc"


async def test_protobuf_samples_are_checked_and_completed(gateway):
    """Id and content hash are the same as those of the same sample as JSON."""
    turns = [sample_pb2.Message(role="user", content="2+2?"), sample_pb2.Message(role="assistant", content="4")]
    requests = [
        ingest_pb2.IngestRequest(ref=1, dataset_id="demo", sample=sample_pb2.Sample(messages=turns)),
        ingest_pb2.IngestRequest(ref=2, dataset_id="demo", sample=sample_pb2.Sample(messages=turns[:1])),
        ingest_pb2.IngestRequest(ref=3, dataset_id="demo"),
        request(4),
    ]
    answers = await gateway.ingest(*requests)
    assert [answer.error_code for answer in answers] == ["", "no_assistant_turn", "unknown_format", ""]
    digest = content_hash_of((Message("user", "2+2?"), Message("assistant", "4")), "", None)
    assert answers[0].sample_id == answers[3].sample_id == digest[:32]


async def test_fields_of_a_newer_schema_travel_on(gateway):
    """What this version does not know is in the event that it publishes."""
    newer = sample_pb2.Sample(
        messages=[sample_pb2.Message(role="user", content="a"), sample_pb2.Message(role="assistant", content="b")]
    )
    unknown = b"\xa2\x06\x05later"  # field 100, a text
    raw = newer.SerializeToString() + unknown
    answers = await gateway.ingest(ingest_pb2.IngestRequest(ref=1, dataset_id="demo", sample=sample_pb2.Sample.FromString(raw)))
    assert answers[0].status == RECEIVED
    published = dossier_pb2.Dossier.FromString(wire.encode(gateway.publisher.dossiers[0]))
    assert unknown in published.sample.SerializeToString()
    assert published.sample.content_hash == answers[0].content_hash
    assert published.sample.dataset_id == "demo"


async def test_a_garbled_message_ends_only_its_own_stream(gateway):
    """Bytes that are no request are the client's fault; others go on."""
    async with gateway.channel() as channel:
        raw_call = channel.stream_stream("/headrace_protos.ingest.v1.IngestService/Ingest")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [answer async for answer in raw_call(iter([b"\xff\xff\xff"]))]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await gateway.ingest(request(1)))[0].status == RECEIVED


async def test_no_answer_before_kafka_has_the_sample(gateway):
    """An acknowledgement is a promise."""
    gateway.publisher.holding = True
    task = asyncio.create_task(gateway.ingest(request(1), request(2)))
    await eventually(lambda: len(gateway.publisher.held) == 2)
    await asyncio.sleep(0.05)
    assert not task.done()
    gateway.publisher.release()
    assert [answer.status for answer in await task] == [RECEIVED, RECEIVED]


async def test_the_window_bounds_what_is_on_its_way(open_gateway):
    """A slow Kafka stops the reading, not the memory."""
    gateway = await open_gateway(window=8)
    gateway.publisher.holding = True
    task = asyncio.create_task(gateway.ingest(*(request(n, str(n)) for n in range(50))))
    await eventually(lambda: len(gateway.publisher.held) >= 8)
    await asyncio.sleep(0.1)
    assert len(gateway.publisher.sent) <= 9  # the one being read waits for its place
    gateway.publisher.release()
    assert len(await task) == 50


async def test_the_byte_budget_bounds_all_streams_together(open_gateway):
    """Large samples take their room from the same budget."""
    gateway = await open_gateway(in_flight_bytes_max=40_000)
    gateway.publisher.holding = True
    tasks = [asyncio.create_task(gateway.ingest(*(request(n, "x" * 9_000 + str(n)) for n in range(5)))) for _ in range(3)]
    await eventually(lambda: len(gateway.publisher.held) >= 4)
    await asyncio.sleep(0.1)
    assert gateway.publisher.most_held == 4
    gateway.publisher.release()
    assert [len(answers) for answers in await asyncio.gather(*tasks)] == [5, 5, 5]


async def test_a_client_that_never_reads_its_answers_is_stopped(open_gateway):
    """Flow control stops it, after a while it loses its place, and when it reads on its stream ends; others are not harmed."""
    gateway = await open_gateway(window=16, answer_stall_s_max=0.5)
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield request(sent, "x" * 10_000)

    async with gateway.channel(("grpc.http2.bdp_probe", 0)) as channel:  # else some megabytes of answers are taken unread
        call = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(endless())
        await eventually(lambda: sent > 100)
        await eventually(lambda: gateway.edge.streams.count == 0, 60)
        assert len(gateway.publisher.sent) < sent < 5_000
        assert (await gateway.ingest(request(1)))[0].status == RECEIVED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [answer async for answer in call]
    # A client that is still sending may see its own failed write instead of the status.
    assert caught.value.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}


async def test_kafka_failing_is_unavailable_and_not_a_refusal(gateway):
    """The client is told to send it again; the stream goes on."""
    gateway.publisher.fails_with, gateway.publisher.times = KafkaTimeoutError(), 1
    answers = await gateway.ingest(request(1), request(2))
    assert [answer.status for answer in answers] == [UNAVAILABLE, RECEIVED]
    gateway.publisher.fails_with, gateway.publisher.refuses_with, gateway.publisher.times = None, KafkaTimeoutError(), 1
    assert (await gateway.ingest(request(1)))[0].status == UNAVAILABLE


async def test_kafka_not_answering_is_unavailable_after_a_while(open_gateway):
    """A sample that may or may not be stored is sent again under the same identity."""
    gateway = await open_gateway(publish_s_max=0.1)
    gateway.publisher.holding = True
    answers = await gateway.ingest(request(1))
    assert (answers[0].status, answers[0].error_code) == (UNAVAILABLE, "timeout")
    gateway.publisher.release()
    await gateway.ingest(request(1))
    (first, *_), (second, *_) = gateway.publisher.sent
    assert first == second


async def test_a_sample_too_large_for_a_record_is_refused(open_gateway):
    """Whatever the settings say, what Kafka cannot hold is not retried for ever."""
    gateway = await open_gateway(sample_bytes_max=4_000_000, line_bytes_max=4_000_000)
    answers = await gateway.ingest(request(1, "x" * 1_500_000), request(2))
    assert [(answer.status, answer.error_code) for answer in answers] == [(REFUSED, "too_large"), (RECEIVED, "")]


async def test_a_message_over_the_limit_ends_the_stream(open_gateway):
    """It is never held in memory."""
    gateway = await open_gateway(grpc_message_bytes_max=100_000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.ingest(request(1, "x" * 200_000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_unknown_and_malformed_datasets_are_refused_one_by_one(gateway):
    """Each sample names its dataset; the others go in."""
    answers = await gateway.ingest(request(1, dataset="nope"), request(2, dataset="../demo"), request(3))
    assert [answer.error_code for answer in answers] == ["unknown_dataset", "bad_dataset", ""]
    assert "headrace dataset create nope" in answers[0].error


async def test_a_dataset_created_a_moment_ago_is_waited_for(open_gateway):
    """Its policy may still be on its way to this gateway."""
    gateway = await open_gateway(dataset_wait_s=5)
    task = asyncio.create_task(gateway.ingest(request(1, dataset="fresh")))
    await asyncio.sleep(0.1)
    gateway.policies["fresh"] = gateway.policies["demo"]
    assert (await task)[0].status == RECEIVED


async def test_open_streams_are_limited(open_gateway):
    """One too many is told so at once."""
    gateway = await open_gateway(streams_max=1)
    gateway.publisher.holding = True
    first = asyncio.create_task(gateway.ingest(request(1)))
    await eventually(lambda: gateway.publisher.held)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.ingest(request(1))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    gateway.publisher.release()
    await first
    assert len(await gateway.ingest(request(1))) == 1


async def test_a_stopping_gateway_answers_what_it_has_read(gateway):
    """Then it ends the stream with UNAVAILABLE, so that the client sends the rest elsewhere."""
    gateway.publisher.holding = True
    asked = asyncio.Event()

    async def open_ended():
        yield request(1)
        yield request(2)
        await asked.wait()

    async with gateway.channel() as channel:
        call = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(open_ended())
        await eventually(lambda: len(gateway.publisher.held) == 2)
        stopping = asyncio.create_task(gateway.exits.aclose())
        await asyncio.sleep(0.1)
        gateway.publisher.release()
        assert [(await call.read()).status for _ in range(2)] == [RECEIVED, RECEIVED]
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        await stopping


async def test_a_client_that_goes_away_leaves_nothing_behind(gateway):
    """Its stream is closed and its bytes are free again, whatever Kafka does."""
    gateway.publisher.holding = True
    async with gateway.channel() as channel:
        call = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(iter([request(1), request(2)]))
        await eventually(lambda: len(gateway.publisher.held) == 2)
        call.cancel()
    await eventually(lambda: gateway.edge.streams.count == 0)
    gateway.publisher.release()
    await eventually(lambda: gateway.edge.outbox._budget.free == gateway.edge.settings.in_flight_bytes_max)


async def test_a_lagging_spine_pauses_the_reading(gateway):
    """Nothing is read while the spine is too far behind."""
    gateway.edge.gate.set_lag(gateway.edge.settings.lag_max + 1)
    task = asyncio.create_task(gateway.ingest(request(1)))
    await asyncio.sleep(0.2)
    assert not gateway.publisher.sent
    gateway.edge.gate.set_lag(0)
    assert len(await task) == 1


async def test_the_trace_of_the_caller_goes_along(gateway):
    """A traceparent in the metadata is the event's."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with gateway.channel() as channel:
        call = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(iter([request(1)]), metadata=(("traceparent", trace),))
        assert [answer.status async for answer in call] == [RECEIVED]
    assert gateway.publisher.sent[0][2]["traceparent"] == trace


async def test_grpc_health_is_served(gateway):
    """Load balancers ask for it."""
    async with gateway.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "headrace_protos.ingest.v1.IngestService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
