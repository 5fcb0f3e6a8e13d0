"""Protobuf samples from outside. Fields of a newer schema that this version does not know travel on with the sample."""

from google.protobuf.message import DecodeError

from headrace.adapters.wire import events as wire
from headrace.adapters.wire.fields import serialized, timestamp_of
from headrace.core.dossiers import Dossier
from headrace.core.intake import IntakeLimits, check_sample
from headrace.core.refusals import RefusalCode, Refused, shown
from headrace.core.samples import Sample
from headrace_protos.sample.v1 import dossier_pb2, sample_pb2


def read_protobuf(
    given: bytes | sample_pb2.Sample, dataset_id: str, limits: IntakeLimits, entry: str, submitted_at: float
) -> Dossier:
    """The dossier of a sample in bytes or in a message; an empty dataset id means the sample's own.

    Raises:
        Refused: the bytes are no such message, or the sample breaks a rule.
    """
    message = _parsed(given) if isinstance(given, bytes) else given
    try:
        claimed = wire.sample_from_message(message)
    except wire.Undecodable as error:
        raise Refused(RefusalCode.NOT_PROTOBUF, str(error)) from None
    sample = check_sample(claimed, dataset_id or claimed.dataset_id, limits, entry)
    if message.ByteSize() > limits.line_bytes_max:  # unknown fields count too
        told = f"{message.ByteSize()} bytes, the limit is {limits.line_bytes_max} (HEADRACE_GATEWAY_LINE_BYTES_MAX)"
        raise Refused(RefusalCode.TOO_LARGE, told)
    return _with_unknown_fields(message, sample, submitted_at)


def _parsed(value: bytes) -> sample_pb2.Sample:
    try:
        return sample_pb2.Sample.FromString(value)
    except DecodeError:
        told = f"{len(value)} bytes that are no {sample_pb2.Sample.DESCRIPTOR.full_name}: {shown(value[:16].hex())}"
        raise Refused(RefusalCode.NOT_PROTOBUF, told) from None


def _with_unknown_fields(message: sample_pb2.Sample, sample: Sample, submitted_at: float) -> Dossier:
    """A dossier read from the message itself, completed: its known parts are the checked sample's, the rest as it came."""
    checked = wire.sample_to_message(sample)
    complete = sample_pb2.Sample()
    complete.CopyFrom(message)
    for name in ("dataset_id", "id", "revision", "content_hash", "tools_json", "metadata_json"):
        setattr(complete, name, getattr(checked, name))
    complete.origin.CopyFrom(checked.origin)
    if message.HasField("reference"):
        complete.reference.json_schema = checked.reference.json_schema
    value = dossier_pb2.Dossier(sample=complete, submitted_at=timestamp_of(submitted_at))
    return wire.decode(Dossier, serialized(value))
