"""Golden bytes: what every landed contract wrote must be read for good, by messages and by the codec."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from google.protobuf.message import Message

from headrace.adapters.wire.events import decode, encode, message_name
from tests.contract.contracts.landing import GOLDEN, LANDED, fields_of, image, message_type, twin
from tests.fakes.bodies import BODIES

FILES = sorted(GOLDEN.glob("*/*.binpb"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in FILES]
LATEST = max(GOLDEN.glob("*"), key=lambda folder: int(folder.name))
BODY_TYPES = {message_name(type(body)): type(body) for body in BODIES.values()}


def _golden(path: Path) -> tuple[Message, str]:
    first, _, text = path.with_suffix(".json").read_text().partition("\n")
    return message_type(first.removeprefix("// ")).FromString(path.read_bytes()), text


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_golden_bytes_mean_what_they_meant(path: Path):
    """Every message that was ever landed is still read as its JSON twin says."""
    message, text = _golden(path)
    assert twin(message) == text


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_codec_reads_and_writes_every_golden_field(path: Path):
    """Golden events go through core types, without the bytes they came from, and lose nothing."""
    message, _ = _golden(path)
    body_type = BODY_TYPES.get(message.DESCRIPTOR.full_name)
    if body_type is None:
        assert message.DESCRIPTOR.full_name.startswith("headrace_protos.ingest.v1.Ingest")  # gRPC's own, no event
        return
    body = decode(body_type, path.read_bytes())
    assert type(message).FromString(encode(_unwired(body))) == message
    assert type(message).FromString(encode(body)) == message


def test_every_landed_message_and_field_has_golden_bytes():
    """Nothing landed without an example: each field of each message is set in at least one golden file."""
    seen: dict[str, set[str]] = {}
    for path in LATEST.glob("*.binpb"):
        _collect(_golden(path)[0], seen)
    missing = {
        name: sorted(set(declared) - seen.get(name, set()))
        for name, declared in fields_of(image(LANDED)).items()
        if set(declared) - seen.get(name, set())
    }
    assert missing == {}


def _collect(message: Message, seen: dict[str, set[str]]) -> None:
    names = seen.setdefault(message.DESCRIPTOR.full_name, set())
    for field, value in message.ListFields():
        names.add(field.name)
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if hasattr(value, "append") else [value]:
                _collect(part, seen)


def _unwired(body):
    """The body as if made here: without the bytes it was read from."""
    parts = {field.name: getattr(body, field.name) for field in fields(body)}
    if "wire" in parts:
        parts["wire"] = None
    return replace(body, **{name: _unwired(part) if is_dataclass(part) else part for name, part in parts.items()})
