"""The wire form of every event: core types to protobuf bytes and back.

A dossier's pages are only ever added to, and concatenated protobuf messages merge: a service's output is the bytes it
read followed by the pages it added. The sample is not built again at every hop, and fields of a newer schema pass
through untouched. Where a page was changed instead, that page alone is written anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.adapters import wire_pages
from headrace.adapters.wire_sample import Undecodable, sample_from_message, sample_to_message
from headrace.core.dossiers import (
    AcceptedSample,
    CheckResult,
    Cost,
    DatasetCommitted,
    DatasetCutRequested,
    Decision,
    Dossier,
    Embeddings,
    IndexedSample,
    Placement,
    PolicyPublished,
    Retraction,
    ScoredSample,
    Signals,
)
from headrace.core.samples import Sample
from headrace.core.topics import DATASET_ID
from headrace_protos.control.v1 import policy_pb2
from headrace_protos.dataset.v1 import version_pb2
from headrace_protos.sample.v1 import dossier_pb2, sample_pb2

__all__ = ["RAW_NAME", "Undecodable", "decode", "encode", "message_name", "sample_from_message", "sample_to_message"]

RAW_NAME = "headrace.raw"
"""What stands for a message name where a topic's records are bytes of the producer's own making."""
_TIME_S_MAX = 253_402_300_799  # the end of the year 9999, protobuf's own limit
_NANOS = 1_000_000_000


def encode(body: object) -> bytes:
    """The bytes of one event body; bytes pass through.

    Raises:
        TypeError: no event has a body of this type.
        ValueError: a text holds lone surrogates, or a number does not fit its field.
    """
    if isinstance(body, bytes):
        return body
    codec = _CODECS.get(type(body))
    if codec is None:
        raise TypeError(f"no wire form for {type(body).__name__}")
    return codec.encode(body)


def decode(body_type: type, value: bytes) -> object:
    """The event body in `value`, of the type that its topic names; bytes pass through.

    Raises:
        Undecodable: the bytes are no such event, or a required part is missing or impossible.
        TypeError: no event has a body of this type.
    """
    if body_type is bytes:
        return value
    codec = _CODECS.get(body_type)
    if codec is None:
        raise TypeError(f"no wire form for {body_type.__name__}")
    try:
        message = codec.message_type.FromString(value)
    except DecodeError as error:
        raise Undecodable(f"not a {codec.name}: {len(value)} bytes that do not parse") from error
    return codec.decode(message, value)


def message_name(body_type: type) -> str:
    """The full protobuf name of a body type, version included; `RAW_NAME` for bytes.

    Raises:
        TypeError: no event has a body of this type.
    """
    if body_type is bytes:
        return RAW_NAME
    codec = _CODECS.get(body_type)
    if codec is None:
        raise TypeError(f"no wire form for {body_type.__name__}")
    return codec.name


@dataclass(frozen=True, slots=True)
class _DossierWire:
    """The bytes a dossier was read from, and the pages as they were read: what is not the same object was changed."""

    value: bytes
    sample: Sample
    submitted_at: float
    signals: tuple[Signals, ...]
    placement: Placement | None
    checks: tuple[CheckResult, ...]
    decisions: tuple[Decision, ...]
    costs: tuple[Cost, ...]


@dataclass(frozen=True, slots=True)
class _ScoredWire:
    value: bytes
    dossier: Dossier
    embeddings: Embeddings | None


_PAGES: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("signals", wire_pages.signals_to),
    ("checks", wire_pages.check_to),
    ("decisions", wire_pages.decision_to),
    ("costs", wire_pages.cost_to),
)


def _dossier_from(message: dossier_pb2.Dossier, value: bytes) -> Dossier:
    if not message.HasField("sample"):
        raise Undecodable("dossier without a sample")
    sample = sample_from_message(message.sample)
    _require_dataset_id(sample.dataset_id, "sample.dataset_id")
    _require(sample.id, "sample.id")
    submitted_at = _seconds_of(message, "submitted_at")
    signals = tuple([wire_pages.signals_from(page) for page in message.signals])
    placement = wire_pages.placement_from(message.placement) if message.HasField("placement") else None
    checks = tuple([wire_pages.check_from(page) for page in message.checks])
    decisions = tuple([wire_pages.decision_from(page) for page in message.decisions])
    costs = tuple([wire_pages.cost_from(page) for page in message.costs])
    wire = _DossierWire(value, sample, submitted_at, signals, placement, checks, decisions, costs)
    return Dossier(sample, submitted_at, signals, placement, checks, decisions, costs, wire)


def _encode_dossier(dossier: Dossier) -> bytes:
    wire = dossier.wire
    if not isinstance(wire, _DossierWire):
        return _all_pages(dossier, dossier_pb2.Dossier(sample=sample_to_message(dossier.sample))).SerializeToString()
    added = _added_pages(dossier, wire)
    if added is None:
        return _rewritten(dossier, wire).SerializeToString()
    return wire.value + added.SerializeToString()


def _added_pages(dossier: Dossier, wire: _DossierWire) -> dossier_pb2.Dossier | None:
    """A message of only what was added since the dossier was read; None where anything was changed instead."""
    if dossier.sample is not wire.sample or dossier.submitted_at != wire.submitted_at:
        return None
    added = dossier_pb2.Dossier()
    if dossier.placement is not wire.placement:
        if wire.placement is not None or dossier.placement is None:
            return None
        added.placement.CopyFrom(wire_pages.placement_to(dossier.placement))
    for name, to_message in _PAGES:
        now, before = getattr(dossier, name), getattr(wire, name)
        if now is before:
            continue
        if len(now) < len(before) or any(a is not b for a, b in zip(now, before, strict=False)):
            return None
        getattr(added, name).extend([to_message(page) for page in now[len(before) :]])
    return added


def _rewritten(dossier: Dossier, wire: _DossierWire) -> dossier_pb2.Dossier:
    """The message as it was read, with every changed page written anew and the others as they were."""
    message = dossier_pb2.Dossier.FromString(wire.value)
    if dossier.sample is not wire.sample:
        message.sample.CopyFrom(sample_to_message(dossier.sample))
    if dossier.submitted_at != wire.submitted_at:
        message.submitted_at.CopyFrom(_timestamp(dossier.submitted_at))
    if dossier.placement is not wire.placement:
        message.ClearField("placement")
        if dossier.placement is not None:
            message.placement.CopyFrom(wire_pages.placement_to(dossier.placement))
    for name, to_message in _PAGES:
        now, before = getattr(dossier, name), getattr(wire, name)
        if now is before:
            continue
        kept = {id(page): old for page, old in zip(before, list(getattr(message, name)), strict=True)}
        pages = [kept.get(id(page)) or to_message(page) for page in now]
        message.ClearField(name)
        getattr(message, name).extend(pages)
    return message


def _all_pages(dossier: Dossier, message: dossier_pb2.Dossier) -> dossier_pb2.Dossier:
    message.submitted_at.CopyFrom(_timestamp(dossier.submitted_at))
    if dossier.placement is not None:
        message.placement.CopyFrom(wire_pages.placement_to(dossier.placement))
    for name, to_message in _PAGES:
        getattr(message, name).extend([to_message(page) for page in getattr(dossier, name)])
    return message


def _scored_from(message: dossier_pb2.ScoredSample, value: bytes) -> ScoredSample:
    if not message.HasField("dossier"):
        raise Undecodable("scored sample without a dossier")
    dossier = _dossier_from(message.dossier, message.dossier.SerializeToString())
    embeddings = wire_pages.embeddings_from(message.embeddings) if message.HasField("embeddings") else None
    return ScoredSample(
        dossier,
        embeddings,
        _seconds_of(message, "held_since") if message.HasField("held_since") else None,
        message.order if message.HasField("order") else None,
        _ScoredWire(value, dossier, embeddings),
    )


def _encode_scored(scored: ScoredSample) -> bytes:
    wire = scored.wire if isinstance(scored.wire, _ScoredWire) else None
    message = dossier_pb2.ScoredSample.FromString(wire.value) if wire else dossier_pb2.ScoredSample()
    if wire is None or scored.dossier is not wire.dossier:
        message.dossier.ParseFromString(_encode_dossier(scored.dossier))
    if wire is None or scored.embeddings is not wire.embeddings:
        message.ClearField("embeddings")
        if scored.embeddings is not None:
            message.embeddings.CopyFrom(wire_pages.embeddings_to(scored.embeddings))
    message.ClearField("held_since")
    if scored.held_since is not None:
        message.held_since.CopyFrom(_timestamp(scored.held_since))
    message.ClearField("order")
    if scored.order is not None:
        message.order = scored.order
    return message.SerializeToString()


def _indexed_from(message: dossier_pb2.IndexedSample, _: bytes) -> IndexedSample:
    _require_dataset_id(message.dataset_id, "dataset_id")
    _require(message.sample_id, "sample_id")
    if not message.HasField("embeddings"):
        raise Undecodable("indexed sample without embeddings")
    return IndexedSample(
        message.dataset_id,
        message.sample_id,
        message.revision,
        message.content_hash,
        wire_pages.embeddings_from(message.embeddings),
    )


def _encode_indexed(indexed: IndexedSample) -> bytes:
    return dossier_pb2.IndexedSample(
        dataset_id=indexed.dataset_id,
        sample_id=indexed.sample_id,
        revision=indexed.revision,
        content_hash=indexed.content_hash,
        embeddings=wire_pages.embeddings_to(indexed.embeddings),
    ).SerializeToString()


def _accepted_from(message: dossier_pb2.AcceptedSample, _: bytes) -> AcceptedSample:
    change = message.WhichOneof("change")
    if change == "accepted":
        return AcceptedSample(_dossier_from(message.accepted, message.accepted.SerializeToString()))
    if change is None:
        raise Undecodable("accepted-topic record with neither an acceptance nor a retraction")
    retracted = message.retracted
    _require_dataset_id(retracted.dataset_id, "retracted.dataset_id")
    _require(retracted.sample_id, "retracted.sample_id")
    return AcceptedSample(Retraction(retracted.dataset_id, retracted.sample_id, retracted.revision, retracted.reason))


def _encode_accepted(accepted: AcceptedSample) -> bytes:
    change = accepted.change
    message = dossier_pb2.AcceptedSample()
    if isinstance(change, Dossier):
        message.accepted.ParseFromString(_encode_dossier(change))
    else:
        message.retracted.CopyFrom(
            dossier_pb2.Retraction(
                dataset_id=change.dataset_id, sample_id=change.sample_id, revision=change.revision, reason=change.reason
            )
        )
    return message.SerializeToString()


def _policy_from(message: policy_pb2.PolicyPublished, _: bytes) -> PolicyPublished:
    _require_dataset_id(message.dataset_id, "dataset_id")
    _require(message.version, "version")
    return PolicyPublished(message.dataset_id, message.version, message.policy_json, _seconds_of(message, "published_at"))


def _encode_policy(published: PolicyPublished) -> bytes:
    return policy_pb2.PolicyPublished(
        dataset_id=published.dataset_id,
        version=published.version,
        policy_json=published.policy_json,
        published_at=_timestamp(published.published_at),
    ).SerializeToString()


def _cut_from(message: version_pb2.DatasetCutRequested, _: bytes) -> DatasetCutRequested:
    _require_dataset_id(message.dataset_id, "dataset_id")
    _require(message.request_id, "request_id")
    return DatasetCutRequested(message.dataset_id, message.request_id, message.requested_by)


def _encode_cut(cut: DatasetCutRequested) -> bytes:
    return version_pb2.DatasetCutRequested(
        dataset_id=cut.dataset_id, request_id=cut.request_id, requested_by=cut.requested_by
    ).SerializeToString()


def _committed_from(message: version_pb2.DatasetCommitted, _: bytes) -> DatasetCommitted:
    _require_dataset_id(message.dataset_id, "dataset_id")
    _require(message.version, "version")
    return DatasetCommitted(
        message.dataset_id,
        message.version,
        message.sequence,
        message.manifest_key,
        message.rows_accepted,
        message.rows_rejected,
        _seconds_of(message, "committed_at"),
    )


def _encode_committed(committed: DatasetCommitted) -> bytes:
    return version_pb2.DatasetCommitted(
        dataset_id=committed.dataset_id,
        version=committed.version,
        sequence=committed.sequence,
        manifest_key=committed.manifest_key,
        rows_accepted=committed.rows_accepted,
        rows_rejected=committed.rows_rejected,
        committed_at=_timestamp(committed.committed_at),
    ).SerializeToString()


def _require(text: str, what: str) -> None:
    if not text:
        raise Undecodable(f"{what} is empty")


def _require_dataset_id(dataset_id: str, what: str) -> None:
    if not DATASET_ID.fullmatch(dataset_id):
        raise Undecodable(f"{what} {dataset_id[:80]!r} must be lower-case letters, digits and hyphens, at most 63")


def _seconds_of(message: Any, field: str) -> float:
    if not message.HasField(field):
        raise Undecodable(f"{field} is missing")
    stamp = getattr(message, field)
    if not (0 <= stamp.seconds <= _TIME_S_MAX and 0 <= stamp.nanos < _NANOS):
        raise Undecodable(f"{field} is no time between 1970 and 9999")
    seconds: float = stamp.seconds + stamp.nanos / _NANOS
    return seconds


def _timestamp(seconds: float) -> Timestamp:
    whole = floor(seconds)
    nanos = round((seconds - whole) * _NANOS)
    return Timestamp(seconds=whole + nanos // _NANOS, nanos=nanos % _NANOS)


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
        Sample: _Codec(sample_pb2.Sample, _sample_from, lambda sample: sample_to_message(sample).SerializeToString()),
        Dossier: _Codec(dossier_pb2.Dossier, _dossier_from, _encode_dossier),
        ScoredSample: _Codec(dossier_pb2.ScoredSample, _scored_from, _encode_scored),
        IndexedSample: _Codec(dossier_pb2.IndexedSample, _indexed_from, _encode_indexed),
        AcceptedSample: _Codec(dossier_pb2.AcceptedSample, _accepted_from, _encode_accepted),
        PolicyPublished: _Codec(policy_pb2.PolicyPublished, _policy_from, _encode_policy),
        DatasetCutRequested: _Codec(version_pb2.DatasetCutRequested, _cut_from, _encode_cut),
        DatasetCommitted: _Codec(version_pb2.DatasetCommitted, _committed_from, _encode_committed),
    }
)
