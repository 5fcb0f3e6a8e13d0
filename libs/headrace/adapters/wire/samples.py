"""Samples as protobuf messages and back.

Repeated fields are sliced before they are walked: a slice is made in C, an iteration in Python, an exception at its end.
"""

from typing import Any

from headrace.adapters.wire.fields import Undecodable
from headrace.core.samples import Message, Origin, OriginKind, Reference, Sample, ToolCall
from headrace_protos.sample.v1 import sample_pb2

_KIND_OF_NUMBER = {
    sample_pb2.ORIGIN_KIND_UNSPECIFIED: OriginKind.INGESTED,  # clients need not say how a sample came to be
    sample_pb2.ORIGIN_KIND_INGESTED: OriginKind.INGESTED,
    sample_pb2.ORIGIN_KIND_GENERATED: OriginKind.GENERATED,
    sample_pb2.ORIGIN_KIND_REFINED: OriginKind.REFINED,
}
_NUMBER_OF_KIND = {kind: number for number, kind in _KIND_OF_NUMBER.items() if number}
_DEFAULT_ORIGIN = Origin()


def sample_from_message(message: sample_pb2.Sample) -> Sample:
    """The sample as it stands in the message: ids and hash may be empty, content is not examined.

    Raises:
        Undecodable: the origin's kind is none that this version knows.
    """
    attributes = message.attributes
    return Sample(
        message.dataset_id,
        message.id,
        message.revision,
        message.content_hash,
        tuple(map(_turn_from, message.messages[:])),
        message.tools_json,
        _reference_from(message.reference) if message.HasField("reference") else None,
        _origin_from(message.origin) if message.HasField("origin") else _DEFAULT_ORIGIN,
        {name: attributes[name] for name in sorted(attributes)},
        message.metadata_json,
    )


def sample_to_message(sample: Sample) -> sample_pb2.Sample:
    """The sample as a message.

    Raises:
        ValueError: a text holds lone surrogates, or the revision does not fit 32 bits.
    """
    message = sample_pb2.Sample(
        dataset_id=sample.dataset_id,
        id=sample.id,
        revision=sample.revision,
        content_hash=sample.content_hash,
        messages=[_turn_to(turn) for turn in sample.messages],
        tools_json=sample.tools_json,
        origin=_origin_to(sample.origin),
        attributes=sample.attributes,
        metadata_json=sample.metadata_json,
    )
    if sample.reference is not None:
        message.reference.CopyFrom(_reference_to(sample.reference))
    return message


def chat_form(turn: Message | sample_pb2.Message) -> dict[str, Any]:
    """A turn as OpenAI's chat form has it, which chat templates take; what is absent has no key."""
    form: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        form["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.tool_calls
        ]
    if turn.tool_call_id:
        form["tool_call_id"] = turn.tool_call_id
    if turn.name:
        form["name"] = turn.name
    return form


def _turn_from(turn: sample_pb2.Message) -> Message:
    calls = turn.tool_calls[:]
    return Message(
        turn.role,
        turn.content,
        tuple([ToolCall(call.id, call.name, call.arguments) for call in calls]) if calls else (),
        turn.tool_call_id,
        turn.name,
    )


def _turn_to(turn: Message) -> sample_pb2.Message:
    return sample_pb2.Message(
        role=turn.role,
        content=turn.content,
        tool_calls=[sample_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in turn.tool_calls],
        tool_call_id=turn.tool_call_id,
        name=turn.name,
    )


def _reference_from(reference: sample_pb2.Reference) -> Reference:
    return Reference(
        reference.answer,
        reference.verifier,
        reference.json_schema,
        tuple(reference.unit_tests[:]),
        reference.rubric,
        tuple(reference.passages[:]),
    )


def _reference_to(reference: Reference) -> sample_pb2.Reference:
    return sample_pb2.Reference(
        answer=reference.answer,
        verifier=reference.verifier,
        json_schema=reference.json_schema,
        unit_tests=reference.unit_tests,
        rubric=reference.rubric,
        passages=reference.passages,
    )


def _origin_from(origin: sample_pb2.Origin) -> Origin:
    kind = _KIND_OF_NUMBER.get(origin.kind)
    if kind is None:
        raise Undecodable(f"sample.origin.kind {origin.kind} is not known to this version")
    return Origin(
        kind, tuple(origin.parent_ids[:]), origin.recipe, origin.recipe_version, origin.round, origin.axis, origin.entry,
        origin.restored_by,
    )  # fmt: skip


def _origin_to(origin: Origin) -> sample_pb2.Origin:
    return sample_pb2.Origin(
        kind=_NUMBER_OF_KIND[origin.kind],
        parent_ids=origin.parent_ids,
        recipe=origin.recipe,
        recipe_version=origin.recipe_version,
        round=origin.round,
        axis=origin.axis,
        entry=origin.entry,
        restored_by=origin.restored_by,
    )
