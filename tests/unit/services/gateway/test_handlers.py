"""The Kafka entry: what a record may be, and where each one ends."""

import base64
import json

import pytest

from headrace.core.dossiers import Dossier
from headrace.core.events import Emit, Event, Position, Reject, Retry, Stop
from headrace.core.intake import IntakeLimits
from headrace.core.policies import Policy
from headrace.core.topics import INGEST, SUBMITTED
from headrace.runtime.telemetry import Telemetry
from headrace_protos.sample.v1 import sample_pb2
from services.gateway.door import Door
from services.gateway.handlers import ingest_handler
from services.gateway.lag import LagGate
from services.gateway.protobuf import read_protobuf
from services.gateway.subscribers import subscriptions
from tests.fakes.gateway import sample

DOOR = Door(policies={"demo": Policy()}, limits=IntakeLimits(), clock=lambda: 12.0, read_protobuf=read_protobuf)
PROTOBUF = sample_pb2.Sample(
    messages=[sample_pb2.Message(role="user", content="2+2?"), sample_pb2.Message(role="assistant", content="4")]
).SerializeToString()
NAMED = sample_pb2.Sample.FromString(PROTOBUF)
NAMED.dataset_id = "demo"


def record(body, **headers):
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-") if name == "content_type" else name: text for name, text in headers.items()}
    return Event("e-1", INGEST.name, "", value, 0.0, Position(INGEST.name, 0, 0), headers=names)


async def results_of(*records, gate=None):
    gate = gate or LagGate(10, Telemetry())
    return await ingest_handler(DOOR, gate.passed, 0.05)(records)


async def result_of(body, **headers):
    [result] = await results_of(record(body, **headers))
    return result


def structured(**fields):
    return {"specversion": "1.0", "id": "1", "source": "s", "type": "t"} | fields


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (sample(dataset="demo"), {}),
        (sample(), {"dataset": "demo"}),
        (sample(), {"ce_dataset": "demo", "ce_type": "org.example.sample", "content_type": "application/json; charset=utf-8"}),
        (PROTOBUF, {"dataset": "demo", "content_type": "application/protobuf"}),
        (NAMED.SerializeToString(), {"content_type": "application/x-protobuf"}),
        (structured(data=sample(), dataset="demo"), {"content_type": "application/cloudevents+json"}),
        (structured(data=sample(dataset="demo")), {"content_type": "application/cloudevents+json; charset=utf-8"}),
        (
            structured(data_base64=base64.b64encode(PROTOBUF).decode(), datacontenttype="application/protobuf"),
            {"content_type": "application/cloudevents+json", "dataset": "demo"},
        ),
    ],
)
async def test_json_and_protobuf_plain_and_as_cloudevents(body, headers):
    """However it comes, it is the same sample."""
    result = await result_of(body, **headers)
    assert isinstance(result, Emit), result
    [send] = result.sends
    assert send.topic is SUBMITTED
    assert isinstance(send.body, Dossier)
    assert (send.body.sample.dataset_id, send.body.sample.origin.entry, send.body.submitted_at) == ("demo", "kafka", 12.0)
    assert [message.content for message in send.body.sample.messages] == ["2+2?", "4"]
    assert send.body.sample.metadata_json == ""


async def test_a_dataset_named_in_a_header_leaves_the_field_to_the_caller():
    """Many datasets have a column of that name."""
    result = await result_of(sample(dataset="gsm8k"), dataset="demo")
    assert json.loads(result.sends[0].body.sample.metadata_json) == {"dataset": "gsm8k"}


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"garbled \xff", {}, "bad_utf8"),
        (b"", {}, "not_json"),
        (sample(), {}, "bad_dataset"),
        (sample(), {"dataset": "../demo"}, "bad_dataset"),
        (b"\xff\xff", {"dataset": "demo", "content_type": "application/protobuf"}, "not_protobuf"),
        (PROTOBUF, {"content_type": "application/protobuf"}, "bad_dataset"),
        (PROTOBUF, {"dataset": "demo"}, "not_json"),
        (sample(), {"dataset": "demo", "content_type": "text/csv"}, "unknown_format"),
        (structured(), {"dataset": "demo", "content_type": "application/cloudevents+json"}, "unknown_format"),
        (structured(data_base64="###"), {"dataset": "demo", "content_type": "application/cloudevents+json"}, "unknown_format"),
        (structured(data={}, dataset=3), {"content_type": "application/cloudevents+json"}, "unknown_format"),
        (
            structured(data=sample(), datacontenttype="application/protobuf"),
            {"dataset": "demo", "content_type": "application/cloudevents+json"},
            "not_protobuf",
        ),
    ],
)
async def test_what_cannot_be_read_goes_to_the_dead_letters(body, headers, code):
    """With the code of its refusal as error class."""
    result = await result_of(body, **headers)
    assert isinstance(result, Reject), result
    assert result.error_class == code


async def test_an_unknown_dataset_is_tried_again():
    """Its policy may be on its way; after the last attempt it ends in the dead letters."""
    assert await result_of(sample(), dataset="fresh") == Retry(
        "unknown_dataset", "there is no dataset fresh: `headrace dataset create fresh`"
    )


async def test_one_bad_record_does_not_harm_the_others():
    """One result for each, in order."""
    results = await results_of(record(sample(), dataset="demo"), record(b"{"), record(sample("5"), dataset="demo"))
    assert [type(result) for result in results] == [Emit, Reject, Emit]


async def test_a_lagging_spine_hands_the_batch_back():
    """The consumer keeps its place, and no record is blamed."""
    gate = LagGate(10, Telemetry())
    gate.set_lag(11)
    with pytest.raises(Stop, match="HEADRACE_GATEWAY_LAG_MAX"):
        await results_of(record(sample(), dataset="demo"), gate=gate)
    gate.set_lag(10)
    assert len(await results_of(record(sample(), dataset="demo"), gate=gate)) == 1


def test_the_gateway_reads_its_own_topic():
    """Under its own name, and whatever strangers send there must not stop it."""
    [subscription] = subscriptions(ingest_handler(DOOR, LagGate(1, Telemetry()).passed, 1))
    assert (subscription.topic, subscription.group, subscription.trusted) == (INGEST, "gateway", False)
