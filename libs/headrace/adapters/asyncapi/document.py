"""The topics as an AsyncAPI 3 document: derived from the registry, so that it cannot disagree with what runs."""

from dataclasses import replace
from importlib.metadata import version
from typing import Any

from headrace.adapters.asyncapi.schema import reference_to, schemas_of
from headrace.adapters.claim_check import DIGEST, SIZE
from headrace.adapters.wire.envelope import DATA_REFERENCE
from headrace.adapters.wire.events import RAW_NAME, message_name
from headrace.core.topics import (
    CONSUMERS,
    DATASET_ID,
    DLQ_PARTITIONS,
    DLQ_RETENTION_MS,
    PRODUCERS,
    RETRY_RETENTION_MS,
    TOPICS,
    KeyedBy,
    Topic,
    accepted_topic,
    consumer_group_id,
    dlq_topic_name,
    retry_topic_name,
)

_BINDING = "0.5.0"
_KEYS = {
    KeyedBy.SAMPLE: "dataset id/sample id: all events of one sample stay in order",
    KeyedBy.DATASET: "dataset id: all events of one dataset stay in order",
    KeyedBy.MODEL: "model name: all events of one model stay in order",
    KeyedBy.ROUND: "dataset id/round id: the latest record is the round's state",
    KeyedBy.PRODUCER: "whatever the producer chooses",
    KeyedBy.CALL: "the call's identity; the partition is that of the work the call was made for, not the key's",
}
_ACCEPTED_KEY = "sample id: acceptance, revisions and retraction of a sample stay in order"
_HEADERS = {
    "ce_specversion": "CloudEvents version, 1.0.",
    "ce_id": "The event's id, a function of what it was made from: a repeated event has the same one.",
    "ce_source": "Who made it: headrace/<service>.",
    "ce_type": "The full name of the protobuf message.",
    "ce_time": "When it was made, RFC 3339.",
    "content-type": "application/protobuf",
    "traceparent": "W3C trace context of the sample.",
    DATA_REFERENCE: "Where the payload lies if the record's value is empty: the key of an object in the bucket.",
    SIZE: "With ce_dataref: the payload's length in bytes, decimal.",
    DIGEST: "With ce_dataref: the payload's SHA-256, lower-case hex.",
}
_OPTIONAL_HEADERS = {"traceparent", DATA_REFERENCE, SIZE, DIGEST}
_ANY_ACCEPTED = accepted_topic("dataset")
_ACCEPTED = _ANY_ACCEPTED.name.removesuffix("dataset") + "{dataset}"


def document() -> dict[str, Any]:
    """The document as plain values, the same for the same version of Headrace.

    A channel's `bindings` tell partitions and retention as they are created on one node unless told otherwise.
    """
    names = tuple(dict.fromkeys(_message_key(topic) for topic in (*TOPICS, _ANY_ACCEPTED)))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": version("headrace"),
            "description": "Events between services, and each dataset's accepted samples for trainers. "
            "Read with isolation.level=read_committed: what is uncommitted may never have happened. A large payload, by default "
            "one above 256 KiB, lies in the object store: the record's value is empty, and ce_dataref names the object.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/protobuf",
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name) for name in names},
            "schemas": schemas_of(tuple(name for name in names if name != RAW_NAME)),
        },
    }


def _channels() -> dict[str, Any]:
    channels = {topic.name: _channel(topic, topic.name, _KEYS[topic.keyed_by]) for topic in TOPICS}
    accepted = _channel(_ANY_ACCEPTED, _ACCEPTED, _ACCEPTED_KEY)
    del accepted["bindings"]["kafka"]["topic"]  # the address holds a parameter, the binding cannot
    accepted["parameters"] = {"dataset": {"description": f"A dataset id: {DATASET_ID.pattern}"}}
    channels[_ACCEPTED] = accepted
    for topic in TOPICS:
        for group in CONSUMERS.get(topic.name, ()):
            waiting = replace(
                topic,
                name=retry_topic_name(topic.name, group),
                summary=f"records of {topic.name} that wait for another attempt by {group}",
                retention_ms=RETRY_RETENTION_MS,
            )
            given_up = replace(
                topic,
                name=dlq_topic_name(topic.name, group),
                summary=f"records of {topic.name} that {group} could not process, and why",
                partitions=DLQ_PARTITIONS,
                retention_ms=DLQ_RETENTION_MS,
            )
            channels |= {each.name: _channel(each, each.name, _KEYS[topic.keyed_by]) for each in (waiting, given_up)}
    return channels


def _channel(topic: Topic, address: str, key: str) -> dict[str, Any]:
    retention = {"cleanup.policy": ["compact"]} if topic.compacted else {
        "cleanup.policy": ["delete"], "retention.ms": topic.retention_ms,
    }  # fmt: skip
    name = _message_key(topic)
    return {
        "address": address,
        "summary": f"{topic.summary[0].upper()}{topic.summary[1:]}.",
        "description": f"Key: {key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": address,
                "partitions": topic.partitions,
                "topicConfiguration": retention,
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for topic in TOPICS:
        for service in PRODUCERS.get(topic.name, ()):
            operations[f"{service}.send.{topic.name}"] = _operation("send", topic.name)
        for service in CONSUMERS.get(topic.name, ()):
            group = {"type": "string", "const": consumer_group_id(topic.name, service)}
            operations[f"{service}.receive.{topic.name}"] = _operation("receive", topic.name) | {
                "bindings": {"kafka": {"groupId": group, "bindingVersion": _BINDING}}
            }
    for service in ("admission", "diversity"):  # acceptances, retractions
        operations[f"{service}.send.{_ACCEPTED}"] = _operation("send", _ACCEPTED)
    operations[f"trainer.receive.{_ACCEPTED}"] = _operation("receive", _ACCEPTED)
    return operations


def _operation(action: str, channel: str) -> dict[str, Any]:
    escaped = channel.replace("~", "~0").replace("/", "~1")
    return {"action": action, "channel": {"$ref": f"#/channels/{escaped}"}}


def _message(name: str) -> dict[str, Any]:
    if name == RAW_NAME:
        return {
            "name": name,
            "summary": "A sample as its producer wrote it: JSON in any accepted form or protobuf, plain or CloudEvents.",
            "contentType": "application/octet-stream",
            "payload": {"description": "services/gateway/README.md lists the forms under What a sample may look like."},
        }
    return {
        "name": name,
        "summary": f"Protobuf {name}; the payload is shown in its JSON form.",
        "contentType": "application/protobuf",
        "headers": {
            "type": "object",
            "properties": {header: {"type": "string", "description": text} for header, text in _HEADERS.items()},
            "required": sorted(_HEADERS.keys() - _OPTIONAL_HEADERS),
        },
        "payload": reference_to(name),
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDING}},
    }


def _message_key(topic: Topic) -> str:
    return message_name(topic.body)
