"""The door's rules: bytes or a decoded sample from outside, turned into a `Sample` that the spine may trust, or refused.

Content may hold any Unicode text, right-to-left overrides and zero-width characters included: they are what people write,
and whoever shows a sample escapes them. Identifiers hold plain ASCII only.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace.core.intake_formats import read_conversation
from headrace.core.intake_json import check_text, parse_object, parse_text, to_json
from headrace.core.intake_turns import IntakeLimits, check_turns, read_tools
from headrace.core.refusals import RefusalCode, Refused, shown
from headrace.core.samples import Origin, OriginKind, Reference, Sample, content_hash_of
from headrace.core.topics import DATASET_ID

__all__ = [
    "IntakeLimits",
    "RefusalCode",
    "Refused",
    "check_dataset_id",
    "check_sample",
    "parse_fields",
    "parse_line",
    "read_fields",
]

REVISION_MAX = 2**31 - 1
DERIVED_ID_DIGITS = 32
_PLACE_BYTES = 8
"""What one of many texts costs beside itself, in an event."""
VERIFIERS = ("math", "exact", "schema", "unit_tests", "rubric")

_SAMPLE_ID = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,127}")
_ATTRIBUTE_CHARACTERS_MAX = 1_024
_PARENTS_MAX = 64
_NAME_CHARACTERS_MAX = 256  # names of tools, ids of calls, names of recipes
_ORIGINS = {entry: Origin(entry=entry) for entry in ("grpc", "http", "kafka")}


def parse_line(raw: bytes, dataset_id: str, limits: IntakeLimits, entry: str) -> Sample:
    """The sample in one JSON object, in any accepted form.

    Beside the conversation these keys are understood: id, revision, reference, attributes, metadata, tools, system. All others
    are kept in the sample's metadata under their names. Without an id, the first 32 digits of the content hash are the id.

    Raises:
        Refused: the bytes are no sample, or pass a limit; nothing else is ever raised.
    """
    return read_fields(parse_fields(raw, limits), dataset_id, limits, entry)


def parse_fields(raw: bytes, limits: IntakeLimits) -> dict[str, Any]:
    """The JSON object in `raw`, strictly read; raises Refused."""
    return parse_object(raw, bytes_max=limits.line_bytes_max, depth_max=limits.depth_max)


def read_fields(fields: dict[str, Any], dataset_id: str, limits: IntakeLimits, entry: str) -> Sample:
    """The sample in an object of `parse_fields`, which is used up; raises Refused."""
    check_dataset_id(dataset_id)
    conversation = read_conversation(fields, limits)
    messages = tuple(conversation.messages)
    check_turns(messages, limits)
    sample_id = _id_from(fields.pop("id", None))
    revision = _revision_from(fields.pop("revision", None))
    reference = _reference_from(fields.pop("reference", None), limits)
    attributes = _attributes_from(fields.pop("attributes", None), limits)
    metadata_json = _metadata_from(fields, conversation.extras, limits)
    content_hash = content_hash_of(messages, conversation.tools_json, reference)
    sample = Sample(
        dataset_id,
        sample_id or content_hash[:DERIVED_ID_DIGITS],
        revision,
        content_hash,
        messages,
        conversation.tools_json,
        reference,
        _origin(entry),
        attributes,
        metadata_json,
    )
    _check_size(sample, limits)
    return sample


def check_sample(sample: Sample, dataset_id: str, limits: IntakeLimits, entry: str) -> Sample:
    """A sample that came decoded (protobuf), held to the same rules and completed: id, content hash and origin.

    Of the origin the sender's word is kept for parents and recipe only.

    Raises:
        Refused: as for `parse_line`; bad_content_hash where a hash was sent along that is not the content's.
    """
    check_dataset_id(dataset_id)
    if sample.dataset_id not in {"", dataset_id}:
        told = f"the sample says {shown(sample.dataset_id)}, the request says {shown(dataset_id)}"
        raise Refused(RefusalCode.BAD_DATASET, told)
    if sample.id:
        check_sample_id(sample.id)
    _revision_from(sample.revision)
    check_turns(sample.messages, limits)
    _check_texts(sample)
    reference = sample.reference and _checked_reference(sample.reference, limits)
    tools_json = read_tools(sample.tools_json, limits) if sample.tools_json else ""
    content_hash = content_hash_of(sample.messages, tools_json, reference)
    if sample.content_hash not in {"", content_hash}:
        told = f"{shown(sample.content_hash)} was sent, the content's is {content_hash}"
        raise Refused(RefusalCode.BAD_CONTENT_HASH, told)
    checked = replace(
        sample,
        dataset_id=dataset_id,
        id=sample.id or content_hash[:DERIVED_ID_DIGITS],
        content_hash=content_hash,
        reference=reference,
        tools_json=tools_json,
        origin=_claimed_origin(sample.origin, entry),
        attributes=_attributes_from(dict(sample.attributes), limits),
        metadata_json=_parsed_metadata(sample.metadata_json, limits),
    )
    _check_size(checked, limits)
    return checked


def check_dataset_id(dataset_id: str) -> None:
    """Refuse what is no dataset id; path-like and topic-like names are none."""
    if not DATASET_ID.fullmatch(dataset_id):
        told = f"{shown(dataset_id)} is no dataset id: lower-case letters, digits and hyphens, at most 63"
        raise Refused(RefusalCode.BAD_DATASET, told)


def check_sample_id(sample_id: str) -> None:
    """Refuse ids that are not plain, or look like a path or a topic: ids become keys, object names and queries."""
    if not _SAMPLE_ID.fullmatch(sample_id) or ".." in sample_id:
        told = f"{shown(sample_id)} is no sample id: 1 to 128 of letters, digits and . _ : - , no leading dot, no '..', no slash"
        raise Refused(RefusalCode.BAD_ID, told)
    if sample_id.startswith(("headrace.", "__")):
        raise Refused(RefusalCode.BAD_ID, f"{shown(sample_id)} looks like a topic: ids do not begin with 'headrace.' or '__'")


def _id_from(value: Any) -> str:
    """An id as text; whole numbers are what many datasets hold. Empty where there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Refused(RefusalCode.BAD_ID, f"id is a text or a whole number, not {shown(to_json(value))}")
    check_sample_id(value)
    return value


def _revision_from(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= REVISION_MAX:
        return value
    raise Refused(RefusalCode.BAD_REVISION, f"revision is a whole number from 0 to {REVISION_MAX}, not {shown(to_json(value))}")


def _reference_from(value: Any, limits: IntakeLimits) -> Reference | None:
    """A reference from its object, or from an answer alone."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return Reference(answer=_answer_text(value))
    if unknown := value.keys() - set(Reference.__slots__):
        told = f"unknown key {shown(min(unknown))} in reference; known: {', '.join(Reference.__slots__)}"
        raise Refused(RefusalCode.BAD_REFERENCE, told)
    schema = value.get("json_schema")
    reference = Reference(
        answer=_answer_text(value.get("answer")),
        verifier=_reference_text(value, "verifier"),
        json_schema=to_json(schema) if isinstance(schema, dict | bool) else _reference_text(value, "json_schema"),
        unit_tests=_reference_texts(value, "unit_tests"),
        rubric=_reference_text(value, "rubric"),
        passages=_reference_texts(value, "passages"),
    )
    return _checked_reference(reference, limits)


def _checked_reference(reference: Reference, limits: IntakeLimits) -> Reference:
    if reference.verifier not in {"", *VERIFIERS}:
        told = f"unknown verifier {shown(reference.verifier)}; known: {', '.join(VERIFIERS)}"
        raise Refused(RefusalCode.BAD_REFERENCE, told)
    if not reference.json_schema:
        return reference
    try:
        schema = parse_text(reference.json_schema, depth_max=limits.depth_max)
    except Refused as error:
        raise Refused(RefusalCode.BAD_REFERENCE, f"json_schema: {error.message}") from None
    if not isinstance(schema, dict | bool):
        raise Refused(RefusalCode.BAD_REFERENCE, "json_schema is an object, true or false")
    return replace(reference, json_schema=to_json(schema))


def _answer_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise Refused(RefusalCode.BAD_REFERENCE, f"a reference answer is a text or a number, not {shown(to_json(value))}")


def _reference_text(reference: Mapping[str, Any], key: str) -> str:
    value = reference.get(key)
    if not isinstance(value, str | None):
        raise Refused(RefusalCode.BAD_REFERENCE, f"reference.{key} is a text, not {shown(to_json(value))}")
    return value or ""


def _reference_texts(reference: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = reference.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Refused(RefusalCode.BAD_REFERENCE, f"reference.{key} is a list of texts")
    return tuple(value)


def _attributes_from(value: Any, limits: IntakeLimits) -> Mapping[str, str]:
    if not value:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Refused(RefusalCode.BAD_ATTRIBUTES, "attributes is an object whose values are texts")
    if len(value) > limits.attributes_max:
        told = f"{len(value)} attributes, the limit is {limits.attributes_max} (HEADRACE_GATEWAY_ATTRIBUTES_MAX)"
        raise Refused(RefusalCode.BAD_ATTRIBUTES, told)
    for key, text in value.items():
        if not 0 < len(key) <= _NAME_CHARACTERS_MAX or len(text) > _ATTRIBUTE_CHARACTERS_MAX:
            told = f"{shown(key)}: names have 1 to {_NAME_CHARACTERS_MAX} characters, values at most {_ATTRIBUTE_CHARACTERS_MAX}"
            raise Refused(RefusalCode.BAD_ATTRIBUTES, told)
    return value


def _metadata_from(fields: dict[str, Any], extras: dict[str, Any], limits: IntakeLimits) -> str:
    """The caller's metadata, and with it every key that nothing else has taken: no data is dropped."""
    metadata = fields.pop("metadata", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise Refused(RefusalCode.BAD_METADATA, f"metadata is an object, not {shown(to_json(metadata))}")
    for more in (fields, extras):
        if clash := metadata.keys() & more.keys():
            told = f"{shown(min(clash))} is in metadata and beside it; one of them would be lost"
            raise Refused(RefusalCode.BAD_METADATA, told)
        metadata |= more
    return _metadata_text(metadata, limits)


def _parsed_metadata(text: str, limits: IntakeLimits) -> str:
    if not text:
        return ""
    try:
        metadata = parse_text(text, depth_max=limits.depth_max)
    except Refused as error:
        raise Refused(RefusalCode.BAD_METADATA, f"metadata_json: {error.message}") from None
    if not isinstance(metadata, dict):
        raise Refused(RefusalCode.BAD_METADATA, "metadata_json is a JSON object")
    return _metadata_text(metadata, limits)


def _metadata_text(metadata: dict[str, Any], limits: IntakeLimits) -> str:
    if not metadata:
        return ""
    text = to_json(metadata)
    if (size := _utf8(text)) > limits.metadata_bytes_max:
        told = f"{size} bytes of metadata, the limit is {limits.metadata_bytes_max} (HEADRACE_GATEWAY_METADATA_BYTES_MAX)"
        raise Refused(RefusalCode.TOO_LARGE, told)
    return text


def _origin(entry: str) -> Origin:
    return _ORIGINS.get(entry) or Origin(entry=entry)


def _claimed_origin(claimed: Origin, entry: str) -> Origin:
    """Rounds and axes are given by the system; that a sample was made from others, and how, its maker knows best."""
    if not (claimed.parent_ids or claimed.recipe or claimed.recipe_version):
        return _origin(entry)
    if len(claimed.parent_ids) > _PARENTS_MAX:
        raise Refused(RefusalCode.TOO_LARGE, f"{len(claimed.parent_ids)} parents, the most are {_PARENTS_MAX}")
    for parent in claimed.parent_ids:
        check_sample_id(parent)
    for text in (claimed.recipe, claimed.recipe_version):
        if len(text) > _NAME_CHARACTERS_MAX:
            raise Refused(RefusalCode.TOO_LARGE, f"origin: names have at most {_NAME_CHARACTERS_MAX} characters")
    return replace(claimed, kind=OriginKind.INGESTED, round="", axis="", entry=entry, restored_by="")


def _check_texts(sample: Sample) -> None:
    """JSON texts are examined where they are parsed; these came as they are."""
    for index, message in enumerate(sample.messages):
        where = f"turn {index}"
        check_text(message.content, where)
        check_text(message.tool_call_id, where)
        check_text(message.name, where)
        for call in message.tool_calls:
            check_text(call.id, where)
            check_text(call.name, where)
            check_text(call.arguments, where)
    for key, text in sample.attributes.items():
        check_text(key, "an attribute's name")
        check_text(text, "an attribute")
    for text in _reference_parts(sample.reference):
        check_text(text, "the reference")
    for text in (sample.origin.recipe, sample.origin.recipe_version):
        check_text(text, "the origin")


def _check_size(sample: Sample, limits: IntakeLimits) -> None:
    """Exact, because small JSON can grow: 9e15 is written out as a number of 18 characters, an empty text costs its place."""
    size = (
        _utf8(sample.tools_json) + _utf8(sample.metadata_json) + _utf8(sample.origin.recipe) + _utf8(sample.origin.recipe_version)
    )
    for message in sample.messages:
        size += _utf8(message.content) + _utf8(message.name) + _utf8(message.tool_call_id)
        for call in message.tool_calls:
            size += _PLACE_BYTES + _utf8(call.id) + _utf8(call.name) + _utf8(call.arguments)
    size += sum(_PLACE_BYTES + _utf8(key) + _utf8(text) for key, text in sample.attributes.items())
    if sample.reference is not None:
        listed = len(sample.reference.unit_tests) + len(sample.reference.passages)
        size += _PLACE_BYTES * listed + sum(map(_utf8, _reference_parts(sample.reference)))
    if size > limits.sample_bytes_max:
        told = f"{size} bytes in one sample, the limit is {limits.sample_bytes_max} (HEADRACE_GATEWAY_SAMPLE_BYTES_MAX)"
        raise Refused(RefusalCode.TOO_LARGE, told)


def _reference_parts(reference: Reference | None) -> tuple[str, ...]:
    if reference is None:
        return ()
    parts = (reference.answer, reference.verifier, reference.json_schema, reference.rubric)
    return (*parts, *reference.unit_tests, *reference.passages)


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))
