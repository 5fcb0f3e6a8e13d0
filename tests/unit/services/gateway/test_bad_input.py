"""What should not come in: each, at every entry, is refused with a code and a sentence, and the samples around it go in."""

import json

import pytest

from headrace.core.events import Emit, Event, Position, Reject
from headrace.core.topics import INGEST
from headrace.runtime.telemetry import Telemetry
from headrace_protos.ingest.v1 import ingest_pb2
from services.gateway.handlers import ingest_handler
from services.gateway.lag import LagGate
from tests.fakes.gateway import request, sample

ASKED, ANSWERED = sample()["messages"]


def conversation(*turns, **fields):
    return json.dumps({"messages": list(turns)} | fields).encode()


def with_metadata(number):
    return json.dumps(sample(metadata={"x": "@"})).encode().replace(b'"@"', number)


BAD = {
    "not JSON": (b"{'messages': []}", "not_json"),
    "truncated UTF-8": (b'{"messages": "\xe6\x95', "bad_utf8"),
    "over the limit of a line": (json.dumps(sample("x" * 3_000_000)).encode(), "too_large"),
    "10,000 turns": (conversation(*[ASKED, ANSWERED] * 5_000), "too_many_turns"),
    "no messages": (conversation(), "empty_messages"),
    "a message that says nothing": (conversation(ASKED, {"role": "assistant", "content": ""}), "empty_content"),
    "an unknown role": (conversation(ASKED, {"role": "wizard", "content": "4"}), "unknown_role"),
    "no assistant turn": (conversation(ASKED), "no_assistant_turn"),
    "an image": (
        conversation({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWERED),
        "unsupported_content",
    ),
    "NaN in the metadata": (with_metadata(b"NaN"), "not_finite"),
    "1e400 in the metadata": (with_metadata(b"1e400"), "not_finite"),
    "control characters": (json.dumps(sample("\x1b[2J")).encode(), "control_characters"),
    "a lone surrogate": (json.dumps(sample("\ud800")).encode(), "lone_surrogate"),
    "an override in the id": (json.dumps(sample(id="\u202etxt.exe")).encode(), "bad_id"),
    "an id like a path": (json.dumps(sample(id="../../etc/passwd")).encode(), "bad_id"),
    "an id like a topic": (json.dumps(sample(id="headrace.sample.submitted")).encode(), "bad_id"),
}
every_bad_sample = pytest.mark.parametrize(("raw", "code"), BAD.values(), ids=BAD)


def is_a_sentence(error):
    return error.isascii() and error.isprintable() and 10 < len(error) < 300


@every_bad_sample
async def test_over_http(gateway, raw, code):
    """A line is refused, with its number; the lines before and behind it are received."""

    async def body():
        for line in (json.dumps(sample("4")).encode(), raw, json.dumps(sample("5")).encode()):
            yield line + b"\n"

    status, _, results = await gateway.post(body())
    assert (status, [result["status"] for result in results]) == (200, ["received", "refused", "received"])
    assert (results[1]["line"], results[1]["code"]) == (2, code)
    assert is_a_sentence(results[1]["error"])
    assert len(gateway.publisher.sent) == 2


@every_bad_sample
async def test_over_grpc(gateway, raw, code):
    """A request is refused, with its own number, and the stream goes on."""
    bad = ingest_pb2.IngestRequest(ref=2, dataset_id="demo", json=raw)
    answers = await gateway.ingest(request(1), bad, request(3, "5"))
    assert [(answer.ref, answer.error_code) for answer in answers] == [(1, ""), (2, code), (3, "")]
    assert is_a_sentence(answers[1].error)
    assert len(gateway.publisher.sent) == 2


@every_bad_sample
async def test_over_kafka(gateway, raw, code):
    """A record goes to the dead letters, and those before and behind it into the spine."""
    values = [json.dumps(sample("4")).encode(), raw, json.dumps(sample("5")).encode()]
    records = [
        Event(f"e-{offset}", INGEST.name, "", value, 0.0, Position(INGEST.name, 0, offset), headers={"dataset": "demo"})
        for offset, value in enumerate(values)
    ]
    first, refused, last = await ingest_handler(gateway.edge.door, LagGate(1, Telemetry()).passed, 1)(records)
    assert isinstance(refused, Reject)
    assert refused.error_class == code
    assert is_a_sentence(refused.error)
    assert isinstance(first, Emit)
    assert isinstance(last, Emit)


@pytest.mark.parametrize("dataset", ["..%2Fdemo", "%2E%2E", "headrace.accepted.demo", "__consumer_offsets", "demo%00", "x" * 64])
async def test_a_dataset_id_like_a_path_or_a_topic(gateway, dataset):
    """Over HTTP it is refused before the body is read, and over gRPC sample by sample."""
    status, _, [answer] = await gateway.post(json.dumps(sample()).encode(), dataset=dataset)
    assert (status, answer["error"]["code"]) in {(400, "bad_dataset"), (404, "not_found")}
    assert is_a_sentence(answer["error"]["message"])
    answers = await gateway.ingest(request(1, dataset=dataset), request(2))
    assert [answer.error_code for answer in answers] == ["bad_dataset", ""]


async def test_overrides_in_content_are_text(gateway):
    """People write from right to left: what they wrote arrives as it is."""
    _, _, [result] = await gateway.post(json.dumps(sample("\u202eabc\u202c")).encode())
    assert result["status"] == "received"
    assert gateway.publisher.dossiers[0].sample.messages[1].content == "\u202eabc\u202c"
