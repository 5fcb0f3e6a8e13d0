"""The landed contract: what services and readers out there may rely on. `make protos-land` renews it.

`landed.binpb` is an image of the protos, against which `buf breaking` holds every change. `golden/<n>/` holds bytes of
every message as the n-th landed contract wrote them, each with a JSON twin; all of them must stay readable for good.
"""

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message

from headrace.adapters.wire.events import encode, message_name
from headrace_protos.ingest.v1 import ingest_pb2
from tests.fakes.bodies import BODIES

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
LANDED = HERE / "landed.binpb"
GOLDEN = HERE / "golden"
BUF = Path(sys.executable).with_name("buf")


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs buf on protos/ and returns what it said."""
    return subprocess.run([BUF, *arguments], cwd=ROOT / "protos", capture_output=True, text=True, check=False)


def image(path: Path) -> FileDescriptorSet:
    """The descriptors in a buf image: it is a file descriptor set with fields of buf's own."""
    return FileDescriptorSet.FromString(path.read_bytes())


def messages() -> dict[str, tuple[str, bytes]]:
    """Full message name and bytes of every example, by file name."""
    examples = {name: (message_name(type(body)), encode(body)) for name, body in BODIES.items()}
    for name, message in _INTAKE.items():
        examples[name] = (message.DESCRIPTOR.full_name, message.SerializeToString(deterministic=True))
    return examples


def twin(message: Message) -> str:
    """The JSON twin of a golden message, for a person to read and compare."""
    return json_format.MessageToJson(message, preserving_proto_field_name=True, sort_keys=True) + "\n"


def fields_of(files: FileDescriptorSet) -> dict[str, dict[str, FieldDescriptorProto]]:
    """Every message of ours with its fields by name, map entries apart."""
    found: dict[str, dict[str, FieldDescriptorProto]] = {}
    for file in files.file:
        if file.package.startswith("headrace_protos."):
            for message in file.message_type:
                found[f"{file.package}.{message.name}"] = _fields(message)
    return found


def land() -> int:
    """Stores the present contract and its golden bytes; does nothing when they have landed already."""
    built = HERE / "built.binpb"
    done = buf("build", "-o", built)
    if done.returncode:
        print(done.stderr, file=sys.stderr)  # noqa: T201 # a command speaks
        return done.returncode
    if LANDED.exists() and built.read_bytes() == LANDED.read_bytes():
        built.unlink()
        return 0
    built.replace(LANDED)
    folder = GOLDEN / str(1 + max((int(path.name) for path in GOLDEN.glob("*")), default=0))
    folder.mkdir(parents=True)
    for name, (full_name, value) in messages().items():
        (folder / f"{name}.binpb").write_bytes(value)
        (folder / f"{name}.json").write_text(f"// {full_name}\n{twin(message_type(full_name).FromString(value))}")
    return 0


def message_type(full_name: str) -> type[Message]:
    """The generated class of a message."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


def _fields(message: DescriptorProto) -> dict[str, FieldDescriptorProto]:
    return {field.name: field for field in message.field}


_SAMPLE = ingest_pb2.IngestRequest(ref=7, dataset_id="arithmetic")
_SAMPLE.sample.MergeFromString(encode(BODIES["Sample"]))
_INTAKE: dict[str, Message] = {
    "IngestRequest": _SAMPLE,
    "IngestRequest.json": ingest_pb2.IngestRequest(ref=8, dataset_id="arithmetic", json=b'{"prompt": "1+1", "completion": "2"}'),
    "IngestResponse": ingest_pb2.IngestResponse(
        ref=7, status=ingest_pb2.INGEST_STATUS_RECEIVED, sample_id="problem-7", revision=3, content_hash="ab" * 32
    ),
    "IngestResponse.refused": ingest_pb2.IngestResponse(
        ref=8, status=ingest_pb2.INGEST_STATUS_REFUSED, error_code="unknown_role", error="messages[0].role is 'robot'"
    ),
}

if __name__ == "__main__":
    sys.exit(land())
