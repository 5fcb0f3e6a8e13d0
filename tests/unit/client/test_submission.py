"""The producers' client against a gateway on real sockets."""

import asyncio
import contextlib
import json

import pytest
from aiokafka.errors import KafkaTimeoutError

from headrace.client import NotSubmitted, Refused, Submitted, submit, submit_sync
from headrace_protos.sample.v1 import sample_pb2
from services.gateway.app import serving
from tests.fakes.gateway import HOST, eventually, sample, started


@pytest.fixture
async def gateway():
    async with contextlib.AsyncExitStack() as stack:
        yield await started(stack)


async def sent(gateway, samples, dataset="demo", **options):
    return [answer async for answer in submit(dataset, samples, gateway=f"{HOST}:{gateway.grpc_port}", **options)]


async def test_samples_in_every_shape(gateway):
    """Objects, JSON texts and bytes, protobuf; from a list or from an asynchronous source."""
    message = sample_pb2.Sample(
        messages=[sample_pb2.Message(role="user", content="a"), sample_pb2.Message(role="assistant", content="b")]
    )

    async def source():
        yield sample("1")
        yield json.dumps(sample("2"))
        yield json.dumps(sample("3")).encode()
        yield message
        yield {}

    answers = await sent(gateway, source())
    assert [type(answer) for answer in answers] == [Submitted] * 4 + [Refused]
    assert [answer.ref for answer in answers] == [0, 1, 2, 3, 4]
    assert (answers[4].code, answers[0].sample_id) == ("unknown_format", gateway.publisher.dossiers[0].sample.id)
    assert await sent(gateway, []) == []


async def test_the_window_bounds_what_is_taken_from_the_source(gateway):
    """A large source is read as fast as it is answered."""
    taken = 0

    def source():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield sample(str(number))

    gateway.publisher.holding = True
    task = asyncio.create_task(sent(gateway, source(), window=10))
    await eventually(lambda: len(gateway.publisher.held) == 10)
    assert taken == 11
    gateway.publisher.release()
    assert len(await task) == 100


async def test_what_kafka_could_not_store_is_sent_again(gateway):
    """On the same stream, until it is stored."""
    gateway.publisher.fails_with, gateway.publisher.times = KafkaTimeoutError(), 7
    answers = await sent(gateway, (sample(str(number)) for number in range(20)))
    assert sorted(answer.ref for answer in answers) == list(range(20))
    assert all(isinstance(answer, Submitted) for answer in answers)
    gateway.publisher.times = 10**9
    with pytest.raises(NotSubmitted, match="KafkaTimeoutError"):
        await sent(gateway, [sample()], patience_s=0.3)


async def test_a_gateway_that_restarts_is_waited_for(gateway):
    """Every sample is answered once, whatever was lost on the way; what is sent again keeps its identity."""
    port, total = gateway.grpc_port, 400
    answers = []

    async def source():
        for number in range(total):
            yield sample(str(number))
            await asyncio.sleep(0.001)

    async def send():
        async for answer in submit("demo", source(), gateway=f"{HOST}:{port}", window=16):
            answers.append(answer)  # noqa: PERF401 - looked at while it grows

    task = asyncio.create_task(send())
    await eventually(lambda: len(answers) > 50)
    await gateway.exits.aclose()
    edge = gateway.edge.__class__(
        gateway.edge.settings.model_copy(update={"grpc_port": port}), gateway.edge.door, gateway.edge.outbox, gateway.edge.tokens,
        type(gateway.edge.streams)(64, gateway.edge.telemetry), gateway.edge.gate, gateway.edge.telemetry,
    )  # fmt: skip
    async with serving(edge, HOST):
        await asyncio.wait_for(task, 30)
    assert sorted(answer.ref for answer in answers) == list(range(total))
    assert len({event_id for event_id, _, _ in gateway.publisher.sent}) == total
    assert len({dossier.sample.id for dossier in gateway.publisher.dossiers}) == total


async def test_a_gateway_that_is_not_there_is_not_waited_for_for_ever():
    """The error says how many samples have no answer."""
    with pytest.raises(NotSubmitted, match="UNAVAILABLE") as caught:
        [answer async for answer in submit("demo", [sample()], gateway=f"{HOST}:1", patience_s=0.2)]
    assert caught.value.unanswered == 1


async def test_a_wrong_token_is_no_reason_to_try_again(tmp_path):
    """However much is waiting to be sent."""
    path = tmp_path / "tokens.yaml"
    path.write_text("tokens: []")
    async with contextlib.AsyncExitStack() as stack:
        gateway = await started(stack, tokens_file=path)
        for secret in (None, "wrong"):
            with pytest.raises(NotSubmitted, match="UNAUTHENTICATED"):
                await asyncio.wait_for(sent(gateway, (sample("x" * 10_000) for _ in range(1_000)), token=secret), 10)


async def test_a_sample_over_the_message_limit_is_refused_here(gateway):
    """It would end the stream at the gateway."""
    answers = await sent(gateway, [sample("x" * 2_000), sample("y"), sample("z" * 2_000)], message_bytes_max=1_000)
    assert {(answer.ref, getattr(answer, "code", "")) for answer in answers} == {(0, "too_large"), (1, ""), (2, "too_large")}


async def test_an_error_in_the_source_is_the_callers(gateway):
    """After the answers to what came before it."""

    def source():
        yield sample()
        yield {"x": object()}

    answers = submit("demo", source(), gateway=f"{HOST}:{gateway.grpc_port}")
    assert isinstance(await anext(answers), Submitted)
    with pytest.raises(TypeError, match="not JSON serializable"):
        await anext(answers)


async def test_who_stops_asking_leaves_nothing_behind(gateway):
    """The stream ends and the source is not read on."""
    answers = submit("demo", (sample(str(number)) for number in range(10_000)), gateway=f"{HOST}:{gateway.grpc_port}")
    await anext(answers)
    await answers.aclose()
    await eventually(lambda: gateway.edge.streams.count == 0)
    assert len(gateway.publisher.sent) < 2_000


async def test_without_an_event_loop(gateway):
    """The same, from a plain program."""
    samples = [sample(str(number)) for number in range(50)] + [{}]
    answers = await asyncio.to_thread(lambda: list(submit_sync("demo", samples, gateway=f"{HOST}:{gateway.grpc_port}")))
    assert [type(answer) for answer in answers] == [Submitted] * 50 + [Refused]
