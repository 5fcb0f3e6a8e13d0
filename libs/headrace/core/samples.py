"""A training sample and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool as the assistant asked for it; `arguments` is the model's own text, not necessarily JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, in OpenAI chat form."""

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a response can be compared with, and how (`verifier`: math, exact, schema, unit_tests, rubric or empty)."""

    answer: str = ""
    verifier: str = ""
    json_schema: str = ""
    unit_tests: tuple[str, ...] = ()
    rubric: str = ""
    passages: tuple[str, ...] = ()


class OriginKind(StrEnum):
    """How a sample came to be."""

    INGESTED = "ingested"
    GENERATED = "generated"
    REFINED = "refined"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sample came from; `entry` is the door it came in by (grpc, http or kafka).

    `restored_by` is set where a revision brings back what a round had replaced or taken out: which round. All else is what it
    was before that.
    """

    kind: OriginKind = OriginKind.INGESTED
    parent_ids: tuple[str, ...] = ()
    recipe: str = ""
    recipe_version: str = ""
    round: str = ""
    axis: str = ""
    entry: str = ""
    restored_by: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation, what it can be checked against, and whose it is.

    `tools_json` and `metadata_json` are JSON texts or empty. `content_hash` covers messages, tools and reference:
    see `content_hash_of`.
    """

    dataset_id: str
    id: str
    revision: int
    content_hash: str
    messages: tuple[Message, ...]
    tools_json: str = ""
    reference: Reference | None = None
    origin: Origin = field(default_factory=Origin)
    attributes: Mapping[str, str] = field(default_factory=dict)
    metadata_json: str = ""

    @property
    def key(self) -> str:
        """The sample's key across datasets: all events of one sample share it, so they stay in order."""
        return f"{self.dataset_id}/{self.id}"


def content_hash_of(messages: tuple[Message, ...], tools_json: str, reference: Reference | None) -> str:
    """SHA-256, lower-case hex, of the canonical JSON of what a model would see and be compared with.

    Metadata, attributes and origin do not count: the same conversation from two sources has one hash.
    """
    return _sha256_of(
        {
            "messages": [_message_content(message) for message in messages],
            "tools": tools_json,
            "reference": _reference_content(reference),
        }
    )


def prompt_hash_of(sample: Sample) -> str:
    """SHA-256, lower-case hex, of everything before the last assistant turn: equal hashes ask the same thing."""
    return _sha256_of(
        {
            "messages": [_message_content(message) for message in sample.messages[: last_assistant_index(sample)]],
            "tools": sample.tools_json,
        }
    )


def last_assistant_index(sample: Sample) -> int:
    """The index of the last assistant turn; the number of messages where there is none."""
    for index in range(len(sample.messages) - 1, -1, -1):
        if sample.messages[index].role == "assistant":
            return index
    return len(sample.messages)


def response_text(sample: Sample) -> str:
    """The content of the last assistant turn: what the checks examine; empty where there is none."""
    index = last_assistant_index(sample)
    return sample.messages[index].content if index < len(sample.messages) else ""


def _message_content(message: Message) -> dict[str, Any]:
    content: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        content["tool_calls"] = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    if message.tool_call_id:
        content["tool_call_id"] = message.tool_call_id
    if message.name:
        content["name"] = message.name
    return content


def _reference_content(reference: Reference | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    return {
        "answer": reference.answer,
        "verifier": reference.verifier,
        "json_schema": reference.json_schema,
        "unit_tests": list(reference.unit_tests),
        "rubric": reference.rubric,
        "passages": list(reference.passages),
    }


def _sha256_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(_CANONICAL.encode(content).encode("utf-8")).hexdigest()
