"""The wire form of every event: core types to protobuf bytes and back.

A dossier's pages are only ever added to, and concatenated protobuf messages merge: a service's output is the bytes it
read followed by the pages it added. The sample is not built again at every hop, and fields of a newer schema pass
through untouched. Where a page was changed instead, that page alone is written anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar, cast

from google.protobuf.message import DecodeError

from headrace.adapters.wire.chat import encode_reply, reply_from
from headrace.adapters.wire.checkpoints import (
    encode_published,
    encode_refused,
    encode_rollback,
    encode_rolled_out,
    published_from,
    refused_from,
    rollback_from,
    rolled_out_from,
)
from headrace.adapters.wire.dossiers import (
    accepted_from,
    dossier_from,
    encode_accepted,
    encode_dossier,
    encode_indexed,
    encode_scored,
    indexed_from,
    scored_from,
)
from headrace.adapters.wire.fields import Undecodable, require, require_dataset_id, seconds_of, serialized, timestamp_of
from headrace.adapters.wire.retractions import encode_retraction, retraction_from
from headrace.adapters.wire.rounds import FORMS as ROUND_FORMS
from headrace.adapters.wire.samples import sample_from_message, sample_to_message
from headrace.core.chat import KeptReply
from headrace.core.checkpoints import CheckpointPublished, CheckpointRefused, CheckpointRolledOut, RollbackRequested
from headrace.core.dossiers import (
    AcceptedSample,
    DatasetCommitted,
    DatasetCutRequested,
    Dossier,
    IndexedSample,
    PolicyPublished,
    ScoredSample,
)
from headrace.core.retractions import RetractionRequested
from headrace.core.samples import Sample
from headrace_protos.chat.v1 import reply_pb2
from headrace_protos.control.v1 import checkpoint_pb2, policy_pb2
from headrace_protos.dataset.v1 import version_pb2
from headrace_protos.sample.v1 import dossier_pb2, sample_pb2

__all__ = [
    "RAW_NAME",
    "Undecodable",
    "decode",
    "dossier_in",
    "encode",
    "message_name",
    "sample_from_message",
    "sample_to_message",
]

Body = TypeVar("Body")

RAW_NAME = "headrace.raw"
"""What stands for a message name where a topic's records are bytes of the producer's own making."""


def encode(body: object) -> bytes:
    """The bytes of one event body; bytes pass through.

    Raises:
        TypeError: no event has a body of this type.
        ValueError: a text holds lone surrogates, or a number does not fit its field.
    """
    if isinstance(body, bytes):
        return body
    return _codec_of(type(body)).encode(body)


def decode(body_type: type[Body], value: bytes) -> Body:
    """The event body in `value`, of the type that its topic names; bytes pass through.

    Raises:
        Undecodable: the bytes are no such event, or a required part is missing or impossible.
        TypeError: no event has a body of this type.
    """
    if body_type is bytes:
        return cast("Body", value)
    codec = _codec_of(body_type)
    try:
        message = codec.message_type.FromString(value)
    except DecodeError as error:
        raise Undecodable(f"not a {codec.name}: {len(value)} bytes that do not parse") from error
    return cast("Body", codec.decode(message, value))


def dossier_in(body_type: type, value: bytes | None) -> Dossier | None:
    """The dossier in a record whose topic has bodies of this type; None where the record holds none that can be read."""
    try:
        body: object = decode(body_type, value or b"")
    except Undecodable:
        return None
    if isinstance(body, ScoredSample):
        return body.dossier
    return body if isinstance(body, Dossier) else None


def message_name(body_type: type) -> str:
    """The full protobuf name of a body type, version included; `RAW_NAME` for bytes.

    Raises:
        TypeError: no event has a body of this type.
    """
    if body_type is bytes:
        return RAW_NAME
    return _codec_of(body_type).name


def _codec_of(body_type: type) -> "_Codec":
    codec = _CODECS.get(body_type)
    if codec is None:
        raise TypeError(f"no wire form for {body_type.__name__}")
    return codec


def _policy_from(message: policy_pb2.PolicyPublished, _: bytes) -> PolicyPublished:
    require_dataset_id(message.dataset_id, "dataset_id")
    require(message.version, "version")
    return PolicyPublished(message.dataset_id, message.version, message.policy_json, seconds_of(message, "published_at"))


def _encode_policy(published: PolicyPublished) -> bytes:
    return serialized(
        policy_pb2.PolicyPublished(
            dataset_id=published.dataset_id,
            version=published.version,
            policy_json=published.policy_json,
            published_at=timestamp_of(published.published_at),
        )
    )


def _cut_from(message: version_pb2.DatasetCutRequested, _: bytes) -> DatasetCutRequested:
    require_dataset_id(message.dataset_id, "dataset_id")
    require(message.request_id, "request_id")
    return DatasetCutRequested(message.dataset_id, message.request_id, message.requested_by)


def _encode_cut(cut: DatasetCutRequested) -> bytes:
    return serialized(
        version_pb2.DatasetCutRequested(dataset_id=cut.dataset_id, request_id=cut.request_id, requested_by=cut.requested_by)
    )


def _committed_from(message: version_pb2.DatasetCommitted, _: bytes) -> DatasetCommitted:
    require_dataset_id(message.dataset_id, "dataset_id")
    require(message.version, "version")
    return DatasetCommitted(
        message.dataset_id,
        message.version,
        message.sequence,
        message.manifest_key,
        message.rows_accepted,
        message.rows_rejected,
        seconds_of(message, "committed_at"),
        message.request_id,
    )


def _encode_committed(committed: DatasetCommitted) -> bytes:
    return serialized(
        version_pb2.DatasetCommitted(
            dataset_id=committed.dataset_id,
            version=committed.version,
            sequence=committed.sequence,
            manifest_key=committed.manifest_key,
            rows_accepted=committed.rows_accepted,
            rows_rejected=committed.rows_rejected,
            committed_at=timestamp_of(committed.committed_at),
            request_id=committed.request_id,
        )
    )


@dataclass(frozen=True, slots=True)
class _Codec:
    message_type: Any
    decode: Callable[[Any, bytes], object]
    encode: Callable[[Any], bytes]

    @property
    def name(self) -> str:
        name: str = self.message_type.DESCRIPTOR.full_name
        return name


def _sample_from(message: sample_pb2.Sample, _: bytes) -> Sample:
    return sample_from_message(message)


_CODECS: Mapping[type, _Codec] = MappingProxyType(
    {
        Sample: _Codec(sample_pb2.Sample, _sample_from, lambda sample: serialized(sample_to_message(sample))),
        Dossier: _Codec(dossier_pb2.Dossier, dossier_from, encode_dossier),
        ScoredSample: _Codec(dossier_pb2.ScoredSample, scored_from, encode_scored),
        IndexedSample: _Codec(dossier_pb2.IndexedSample, indexed_from, encode_indexed),
        AcceptedSample: _Codec(dossier_pb2.AcceptedSample, accepted_from, encode_accepted),
        RetractionRequested: _Codec(dossier_pb2.RetractionRequested, retraction_from, encode_retraction),
        PolicyPublished: _Codec(policy_pb2.PolicyPublished, _policy_from, _encode_policy),
        DatasetCutRequested: _Codec(version_pb2.DatasetCutRequested, _cut_from, _encode_cut),
        DatasetCommitted: _Codec(version_pb2.DatasetCommitted, _committed_from, _encode_committed),
        CheckpointPublished: _Codec(checkpoint_pb2.CheckpointPublished, published_from, encode_published),
        CheckpointRolledOut: _Codec(checkpoint_pb2.CheckpointRolledOut, rolled_out_from, encode_rolled_out),
        CheckpointRefused: _Codec(checkpoint_pb2.CheckpointRefused, refused_from, encode_refused),
        RollbackRequested: _Codec(checkpoint_pb2.RollbackRequested, rollback_from, encode_rollback),
        KeptReply: _Codec(reply_pb2.ModelReply, reply_from, encode_reply),
        **{kind: _Codec(*form) for kind, form in ROUND_FORMS.items()},
    }
)
