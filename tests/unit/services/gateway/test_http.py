"""HTTP intake over real sockets."""

import asyncio
import gzip
import json
import zlib

import aiohttp
import pytest
from aiokafka.errors import KafkaTimeoutError
from yarl import URL

from services.gateway import routes
from services.gateway.json_lines import LineSplitter
from tests.fakes.gateway import HOST, eventually, lines, sample

MIB = 1024 * 1024


async def chunks(*parts, pause=0.0):
    for part in parts:
        await asyncio.sleep(pause)
        yield part


def codes(results):
    return [(result["line"], result["status"], result.get("code", "")) for result in results]


async def test_each_line_gets_a_result_line(gateway):
    """Good lines go in, bad lines are told what is wrong, empty lines are nothing."""
    body = lines(sample(id="a")) + b"\n" + b"not json\n" + lines(sample("5", revision=2)) + b"\r\n"
    status, headers, results = await gateway.post(body)
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    assert codes(results) == [(1, "received", ""), (3, "refused", "not_json"), (4, "received", "")]
    assert (results[0]["id"], results[2]["revision"]) == ("a", 2)
    first, second = gateway.publisher.dossiers
    assert (first.sample.content_hash, second.sample.content_hash) == (results[0]["content_hash"], results[2]["content_hash"])
    assert first.sample.origin.entry == "http"


async def test_lines_may_be_cut_anywhere(gateway):
    """Chunks are the network's business, even in the middle of a character; the last newline may be missing."""
    body = lines(sample("é😀")) + json.dumps(sample("数学"), ensure_ascii=False).encode()
    _, _, results = await gateway.post(chunks(*(body[index : index + 1] for index in range(len(body)))))
    assert codes(results) == [(1, "received", ""), (2, "received", "")]
    assert gateway.publisher.dossiers[1].sample.messages[1].content == "数学"


async def test_truncated_utf8_is_one_bad_line(gateway):
    """The next line is not harmed."""
    _, _, results = await gateway.post(b'{"messages": "\xe6\x95\n' + lines(sample()))
    assert codes(results) == [(1, "refused", "bad_utf8"), (2, "received", "")]


async def test_results_come_while_the_body_is_still_being_sent(gateway):
    """A client may wait for each result before it sends the next line."""
    sent = asyncio.Event()

    async def body():
        yield lines(sample())
        await sent.wait()
        yield lines(sample("5"))

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v1/datasets/demo/samples", data=body()) as response,
    ):
        assert json.loads(await response.content.readline())["status"] == "received"
        sent.set()
        assert json.loads(await response.content.readline())["line"] == 2


async def test_a_line_of_50_mb_is_skipped_in_bounded_memory(gateway):
    """It is refused, and the lines around it go in."""
    import tracemalloc  # noqa: PLC0415 - only this test measures

    huge = chunks(lines(sample("1")), b'{"messages": "', *[b"x" * MIB] * 50, b'"}\n', lines(sample("2")))
    tracemalloc.start()
    try:
        _, _, results = await gateway.post(huge)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codes(results) == [(1, "received", ""), (2, "refused", "too_large"), (3, "received", "")]
    assert "HEADRACE_GATEWAY_LINE_BYTES_MAX" in results[1]["error"]
    assert peak < 16 * MIB  # of client and server together


async def test_gzip_bodies_are_unpacked_as_they_come(gateway):
    """Several members in a row too, cut anywhere."""
    packed = gzip.compress(lines(sample("1"), sample("2"))) + gzip.compress(lines(sample("3")))
    parts = [packed[index : index + 7] for index in range(0, len(packed), 7)]
    _, _, results = await gateway.post(chunks(*parts), headers={"Content-Encoding": "gzip"})
    assert codes(results) == [(1, "received", ""), (2, "received", ""), (3, "received", "")]


async def test_others_have_their_turn_within_one_buffer_of_empty_lines(gateway, monkeypatch):
    """Packed newlines make no sample that waits for anything; all the same nobody else stands still until they are read."""
    turns, seen = 0, []

    class Seen(LineSplitter):
        def feed(self, piece):
            seen.append(turns)
            return super().feed(piece)

    async def take_turns():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    monkeypatch.setattr(routes, "LineSplitter", Seen)
    others = asyncio.create_task(take_turns())
    packed = gzip.compress(b"\n" * (MIB // 2) + lines(sample()))
    _, _, results = await gateway.post(packed, headers={"Content-Encoding": "gzip"})
    others.cancel()
    assert codes(results) == [(MIB // 2 + 1, "received", "")]
    assert len(seen) > 8
    assert len(set(seen)) == len(seen)


async def test_a_gzip_bomb_is_refused(gateway):
    """A thousandfold body is stopped at its first megabyte."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([packer.compress(bytes(MIB)) for _ in range(64)]) + packer.flush()
    status, _, [answer] = await gateway.post(bomb, headers={"Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (413, "gzip_bomb")
    assert "HEADRACE_GATEWAY_GZIP_RATIO_MAX" in answer["error"]["message"]


async def test_a_gzip_bomb_behind_good_lines_ends_the_response(gateway):
    """What was good before it is in, and the last line says why there is no more."""
    body = chunks(gzip.compress(lines(sample())), gzip.compress(bytes(64 * MIB)), pause=0.05)
    status, _, results = await gateway.post(body, headers={"Content-Encoding": "gzip"})
    assert status == 200
    assert codes(results[:1]) == [(1, "received", "")]
    assert (results[-1]["status"], results[-1]["code"]) == ("ended", "gzip_bomb")


async def test_a_long_body_is_ended(open_gateway):
    """However well it is packed."""
    gateway = await open_gateway(body_bytes_max=10_000)
    status, _, [answer] = await gateway.post(b" " * 20_000)
    assert (status, answer["error"]["code"]) == (413, "too_large")
    assert "HEADRACE_GATEWAY_BODY_BYTES_MAX" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "received"),
    ids=["plain", "cut", "more"],
    argvalues=[(b"plain text", 0), (gzip.compress(lines(sample()))[:40], 0), (gzip.compress(lines(sample())) + b"rest", 1)],
)
async def test_what_only_says_that_it_is_gzip(gateway, body, received):
    """Not gzip at all, cut off, or followed by something else: an error status, or a last line behind what was received."""
    status, _, answers = await gateway.post(body, headers={"Content-Encoding": "gzip"})
    assert len(gateway.publisher.sent) == received
    if received:
        assert (status, answers[-1]["status"], answers[-1]["code"]) == (200, "ended", "bad_gzip")
    else:
        assert (status, answers[0]["error"]["code"]) == (400, "bad_gzip")


async def test_other_encodings_and_forms_are_refused(gateway):
    """With a status that says so."""
    status, _, [answer] = await gateway.post(b"x", headers={"Content-Encoding": "br"})
    assert (status, answer["error"]["code"]) == (415, "bad_encoding")
    status, _, [answer] = await gateway.post(b"x", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, answer["error"]["code"]) == (415, "bad_content_type")


async def test_only_what_was_not_received_is_told_on_request(gateway):
    """For clients that read nothing before they have sent everything."""
    _, _, results = await gateway.post(lines(sample("1"), {}, sample("2")), results="refused")
    assert codes(results[:1]) == [(2, "refused", "unknown_format")]
    assert results[1:] == [{"summary": {"received": 2, "refused": 1, "unavailable": 0}}]
    status, _, [answer] = await gateway.post(b"", results="some")
    assert (status, answer["error"]["code"]) == (400, "bad_query")


async def test_an_empty_body_is_an_empty_answer(gateway):
    """Nothing in, nothing out."""
    assert (await gateway.post(b""))[::2] == (200, [])


@pytest.mark.parametrize(
    ("dataset", "status", "code"),
    [
        ("nope", 404, "unknown_dataset"),
        ("Demo", 400, "bad_dataset"),
        ("..%2Fdemo", 400, "bad_dataset"),
        ("headrace.x", 400, "bad_dataset"),
    ],
)
async def test_datasets_that_do_not_exist(gateway, dataset, status, code):
    """Before anything is read, with the command that makes one."""
    got, _, [answer] = await gateway.post(lines(sample()), dataset=URL(dataset, encoded=True).raw_path)
    assert (got, answer["error"]["code"]) == (status, code)
    assert status != 404 or "headrace dataset create nope" in answer["error"]["message"]
    assert not gateway.publisher.sent


async def test_no_result_before_kafka_has_the_sample(gateway):
    """A result line is a promise, in HTTP too."""
    gateway.publisher.holding = True
    task = asyncio.create_task(gateway.post(lines(sample("1"), sample("2"))))
    await eventually(lambda: len(gateway.publisher.held) == 2)
    assert not task.done()
    gateway.publisher.release()
    assert len((await task)[2]) == 2


async def test_kafka_failing_is_told_line_by_line(gateway):
    """Send it again, it says."""
    gateway.publisher.fails_with, gateway.publisher.times = KafkaTimeoutError(), 1
    _, _, results = await gateway.post(lines(sample("1"), sample("2")))
    assert [result["status"] for result in results] == ["unavailable", "received"]
    assert "again" in results[0]["error"]


async def test_a_client_that_never_reads_its_results_is_stopped(open_gateway):
    """Flow control stops it, memory stays bounded, and after a while it is cut off; others are not harmed."""
    gateway = await open_gateway(window=16, answer_stall_s_max=0.5)
    reader, writer = await asyncio.open_connection(HOST, gateway.http_port, limit=1024)
    writer.write(b"POST /v1/datasets/demo/samples HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = lines({"x": "y" * 1_000}) * 500
    sent = 0

    async def send_for_ever():
        nonlocal sent
        while True:
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
            sent += len(chunk)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_for_ever(), 60)
    assert sent < 100 * MIB  # what the two sockets hold, and no more
    writer.close()
    await eventually(lambda: gateway.edge.streams.count == 0)
    assert (await gateway.post(lines(sample())))[0] == 200
    del reader


async def test_a_body_that_stops_coming_is_given_up(open_gateway):
    """With what was answered before."""
    gateway = await open_gateway(body_idle_s_max=0.2)
    status, _, results = await gateway.post(chunks(lines(sample()), b"", pause=0))
    assert (status, len(results)) == (200, 1)

    async def stops():
        yield lines(sample())
        await asyncio.sleep(5)

    _, _, results = await gateway.post(stops())
    assert [result["status"] for result in results] == ["received", "ended"]
    assert results[1]["code"] == "body_idle"


async def test_a_client_that_goes_away_leaves_nothing_behind(gateway):
    """A line cut off by it is no line."""
    _, writer = await asyncio.open_connection(HOST, gateway.http_port)
    body = lines(sample())
    writer.write(b"POST /v1/datasets/demo/samples HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n" + body + body[:50])
    await eventually(lambda: len(gateway.publisher.sent) == 1)
    writer.close()
    await eventually(lambda: gateway.edge.streams.count == 0)
    assert len(gateway.publisher.sent) == 1
    assert gateway.edge.outbox._budget.free == gateway.edge.settings.in_flight_bytes_max


async def test_garbled_chunks_are_the_clients_fault(gateway):
    """What is not HTTP is answered as such and harms nothing."""
    reader, writer = await asyncio.open_connection(HOST, gateway.http_port)
    writer.write(b"POST /v1/datasets/demo/samples HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert (await gateway.post(lines(sample())))[0] == 200


async def test_open_streams_are_limited(open_gateway):
    """One too many is told when to come again."""
    gateway = await open_gateway(streams_max=1)
    gateway.publisher.holding = True
    first = asyncio.create_task(gateway.post(lines(sample())))
    await eventually(lambda: gateway.publisher.held)
    status, headers, [answer] = await gateway.post(lines(sample()))
    assert (status, headers["Retry-After"], answer["error"]["code"]) == (429, "1", "too_many_streams")
    gateway.publisher.release()
    await first


async def test_a_stopping_gateway_answers_what_it_has_read(gateway):
    """The last line says that the rest is to be sent again."""
    gateway.publisher.holding = True
    going = asyncio.Event()

    async def body():
        yield lines(sample("1"), sample("2"))
        await going.wait()

    task = asyncio.create_task(gateway.post(body()))
    await eventually(lambda: len(gateway.publisher.held) == 2)
    stopping = asyncio.create_task(gateway.exits.aclose())
    await asyncio.sleep(0.05)
    gateway.publisher.release()
    status, _, results = await task
    assert (status, [result["status"] for result in results]) == (200, ["received", "received", "ended"])
    assert results[2]["code"] == "stopping"
    await stopping


async def test_a_lagging_spine_pauses_the_reading(gateway):
    """Nothing is read while the spine is too far behind."""
    gateway.edge.gate.set_lag(gateway.edge.settings.lag_max + 1)
    task = asyncio.create_task(gateway.post(lines(sample())))
    await asyncio.sleep(0.2)
    assert not gateway.publisher.sent
    gateway.edge.gate.set_lag(gateway.edge.settings.lag_max)
    assert (await task)[0] == 200


async def test_datasets_are_listed(gateway):
    """Those that the caller may send to, with their policies' versions."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/v1/datasets") as response:
        version = gateway.policies["demo"].version
        assert await response.json() == {"datasets": [{"id": name, "policy_version": version} for name in ("demo", "other")]}


async def test_an_open_gateway_is_not_reached_through_a_browser(gateway):
    """A page from elsewhere cannot make somebody's browser send samples, nor read what is there under another name."""
    status, _, [answer] = await gateway.post(lines(sample()), headers={"Origin": "http://example.org"})
    assert (status, answer["error"]["code"]) == (403, "foreign_origin")
    status, _, [answer] = await gateway.post(lines(sample()), headers={"Host": "rebound.example.org"})
    assert (status, answer["error"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/v1/datasets/demo/samples", 405)])
async def test_what_is_not_served_is_told_in_json(gateway, method, path, status):
    """Errors have one shape."""
    async with aiohttp.ClientSession() as session, session.request(method, gateway.url + path) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"] == f"{method} {path}"
