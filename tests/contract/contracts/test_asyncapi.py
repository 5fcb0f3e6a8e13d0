"""The AsyncAPI document: complete, consistent within itself, and true to the messages."""

import json
from pathlib import Path

import jsonschema
import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from headrace.adapters.asyncapi.document import document
from headrace.adapters.kafka.admin import topic_specs
from headrace.adapters.wire.events import message_name
from headrace.core.topics import CONSUMERS, PARTITIONS, PRODUCERS, TOPICS, accepted_topic, consumer_group_id
from tests.contract.contracts.landing import GOLDEN

LATEST = max(GOLDEN.glob("*"), key=lambda folder: int(folder.name))


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _resolve(reference, root):
    place = root
    for step in reference.removeprefix("#/").split("/"):
        place = place[step.replace("~1", "/").replace("~0", "~")]
    return place


def test_document_is_asyncapi_3():
    """An independent model of AsyncAPI 3.0 accepts it."""
    assert ApplicationSchema.model_validate(document()).asyncapi == "3.0.0"


def test_every_topic_is_a_channel_with_its_message_partitions_and_retention():
    """No topic of the registry is missing, nor its retry and dead-letter topics, nor any fact about it."""
    channels = document()["channels"]
    for topic in TOPICS:
        channel = channels[topic.name]
        binding = channel["bindings"]["kafka"]
        configuration = binding["topicConfiguration"]
        assert list(channel["messages"]) == [message_name(topic.body)]
        assert binding["partitions"] == topic.partitions
        assert configuration.get("retention.ms") == topic.retention_ms
        assert configuration["cleanup.policy"] == (["compact"] if topic.compacted else ["delete"])
    accepted = channels["headrace.accepted.{dataset}"]
    assert list(accepted["messages"]) == [message_name(accepted_topic("any").body)]
    assert list(accepted["parameters"]) == ["dataset"]


def test_channels_have_the_partitions_and_the_retention_that_topics_are_created_with():
    """Retries and dead letters too, which are kept for other times than their topic."""
    channels = document()["channels"]
    for spec in topic_specs(PARTITIONS):
        binding = channels[spec.name]["bindings"]["kafka"]
        retention = binding["topicConfiguration"].get("retention.ms")
        assert (binding["partitions"], None if retention is None else str(retention)) == (
            spec.partitions,
            spec.config.get("retention.ms"),
        ), spec.name


def test_every_producer_and_consumer_is_an_operation():
    """Who sends and who receives, with the consumer group it reads under."""
    operations = document()["operations"]
    for topic, services in PRODUCERS.items():
        for service in services:
            assert operations[f"{service}.send.{topic}"]["action"] == "send"
    for topic, services in CONSUMERS.items():
        for service in services:
            received = operations[f"{service}.receive.{topic}"]
            assert received["bindings"]["kafka"]["groupId"]["const"] == consumer_group_id(topic, service)


def test_every_reference_resolves():
    """No reference leads nowhere, and no schema is there for nothing."""
    root = document()
    references = set(_references(root))
    for reference in references:
        assert _resolve(reference, root)
    assert {f"#/components/messages/{name}" for name in root["components"]["messages"]} <= references
    assert {f"#/components/schemas/{name}" for name in root["components"]["schemas"]} <= references


def test_document_is_the_same_each_time():
    """Nothing in it depends on the clock, the machine or chance, so that differences mean something."""
    assert json.dumps(document()) == json.dumps(document())


@pytest.mark.parametrize("path", sorted(LATEST.glob("*.json")), ids=lambda path: path.stem)
def test_golden_messages_fit_their_schemas(path: Path):
    """The schemas describe real events: every golden message's JSON form fits, with no field undescribed."""
    root = document()
    first, _, text = path.read_text().partition("\n")
    full_name = first.removeprefix("// ")
    if full_name not in root["components"]["schemas"]:
        assert full_name.startswith("headrace_protos.ingest")  # gRPC's own, on no topic
        return
    strict = {**root, "components": {"schemas": {name: {**schema, "additionalProperties": False}
                                                 for name, schema in root["components"]["schemas"].items()}}}  # fmt: skip
    jsonschema.validate(json.loads(text), {"$ref": f"#/components/schemas/{full_name}", **strict})
