"""Dossiers and what carries them, as protobuf bytes and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

from headrace.adapters.wire import pages as wire_pages
from headrace.adapters.wire.fields import Undecodable, require, require_dataset_id, seconds_of, serialized, timestamp_of
from headrace.adapters.wire.mirror import fill, mirrored_from
from headrace.adapters.wire.samples import sample_from_message, sample_to_message
from headrace.core.dossiers import (
    AcceptedSample,
    CheckResult,
    Cost,
    Decision,
    Dossier,
    Embeddings,
    IndexedSample,
    Placement,
    Retraction,
    Rewrite,
    ScoredSample,
    Signals,
)
from headrace.core.samples import Sample
from headrace_protos.sample.v1 import dossier_pb2


class _DossierWire(NamedTuple):
    """The bytes a dossier was read from, and the pages as they were read: what is not the same object was changed."""

    value: bytes
    sample: Sample
    submitted_at: float
    signals: tuple[Signals, ...]
    placement: Placement | None
    checks: tuple[CheckResult, ...]
    decisions: tuple[Decision, ...]
    costs: tuple[Cost, ...]
    rewrite: Rewrite | None


class _ScoredWire(NamedTuple):
    value: bytes
    dossier: Dossier
    embeddings: Embeddings | None


_PAGES: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("signals", wire_pages.signals_to),
    ("checks", wire_pages.check_to),
    ("decisions", wire_pages.decision_to),
    ("costs", wire_pages.cost_to),
)


def dossier_from(message: dossier_pb2.Dossier, value: bytes) -> Dossier:
    """The dossier in a message and its bytes; raises Undecodable where a required part is missing or impossible."""
    if not message.HasField("sample"):
        raise Undecodable("dossier without a sample")
    sample = sample_from_message(message.sample)
    require_dataset_id(sample.dataset_id, "sample.dataset_id")
    require(sample.id, "sample.id")
    submitted_at = seconds_of(message, "submitted_at")
    signals = tuple(map(wire_pages.signals_from, message.signals[:]))
    placement = wire_pages.placement_from(message.placement) if message.HasField("placement") else None
    checks = tuple(map(wire_pages.check_from, message.checks[:]))
    decisions = tuple(map(wire_pages.decision_from, message.decisions[:]))
    costs = tuple(map(wire_pages.cost_from, message.costs[:]))
    rewrite = mirrored_from(Rewrite, message.rewrite) if message.HasField("rewrite") else None
    wire = _DossierWire(value, sample, submitted_at, signals, placement, checks, decisions, costs, rewrite)
    return Dossier(sample, submitted_at, signals, placement, checks, decisions, costs, rewrite, wire)


def encode_dossier(dossier: Dossier) -> bytes:
    """The bytes it was read from and the pages added since; everything where it was not read."""
    wire = dossier.wire
    if not isinstance(wire, _DossierWire):
        return serialized(_all_pages(dossier, dossier_pb2.Dossier(sample=sample_to_message(dossier.sample))))
    added = _added_pages(dossier, wire)
    if added is None:
        return serialized(_rewritten(dossier, wire))
    return wire.value + serialized(added)


def _added_pages(dossier: Dossier, wire: _DossierWire) -> dossier_pb2.Dossier | None:
    """A message of only what was added since the dossier was read; None where anything was changed instead."""
    if dossier.sample is not wire.sample or dossier.submitted_at != wire.submitted_at or dossier.rewrite is not wire.rewrite:
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
        message.submitted_at.CopyFrom(timestamp_of(dossier.submitted_at))
    if dossier.placement is not wire.placement:
        message.ClearField("placement")
        if dossier.placement is not None:
            message.placement.CopyFrom(wire_pages.placement_to(dossier.placement))
    if dossier.rewrite is not wire.rewrite:
        message.ClearField("rewrite")
        if dossier.rewrite is not None:
            fill(message.rewrite, dossier.rewrite)
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
    message.submitted_at.CopyFrom(timestamp_of(dossier.submitted_at))
    if dossier.placement is not None:
        message.placement.CopyFrom(wire_pages.placement_to(dossier.placement))
    if dossier.rewrite is not None:
        fill(message.rewrite, dossier.rewrite)
    for name, to_message in _PAGES:
        getattr(message, name).extend([to_message(page) for page in getattr(dossier, name)])
    return message


def scored_from(message: dossier_pb2.ScoredSample, value: bytes) -> ScoredSample:
    """Raises Undecodable where a required part is missing or impossible."""
    if not message.HasField("dossier"):
        raise Undecodable("scored sample without a dossier")
    dossier = dossier_from(message.dossier, serialized(message.dossier))
    embeddings = wire_pages.embeddings_from(message.embeddings) if message.HasField("embeddings") else None
    return ScoredSample(
        dossier,
        embeddings,
        seconds_of(message, "held_since") if message.HasField("held_since") else None,
        message.order if message.HasField("order") else None,
        message.held_behind if message.HasField("held_behind") else None,
        seconds_of(message, "behind_since") if message.HasField("behind_since") else None,
        _ScoredWire(value, dossier, embeddings),
    )


def encode_scored(scored: ScoredSample) -> bytes:
    """The message it was read from, with what has changed."""
    wire = scored.wire if isinstance(scored.wire, _ScoredWire) else None
    message = dossier_pb2.ScoredSample.FromString(wire.value) if wire else dossier_pb2.ScoredSample()
    if wire is None or scored.dossier is not wire.dossier:
        message.dossier.ParseFromString(encode_dossier(scored.dossier))
    if wire is None or scored.embeddings is not wire.embeddings:
        message.ClearField("embeddings")
        if scored.embeddings is not None:
            message.embeddings.CopyFrom(wire_pages.embeddings_to(scored.embeddings))
    message.ClearField("held_since")
    if scored.held_since is not None:
        message.held_since.CopyFrom(timestamp_of(scored.held_since))
    message.ClearField("order")
    if scored.order is not None:
        message.order = scored.order
    message.ClearField("held_behind")
    if scored.held_behind is not None:
        message.held_behind = scored.held_behind
    message.ClearField("behind_since")
    if scored.behind_since is not None:
        message.behind_since.CopyFrom(timestamp_of(scored.behind_since))
    return serialized(message)


def indexed_from(message: dossier_pb2.IndexedSample, _: bytes) -> IndexedSample:
    """Raises Undecodable where a required part is missing or impossible."""
    require_dataset_id(message.dataset_id, "dataset_id")
    require(message.sample_id, "sample_id")
    if not message.HasField("embeddings"):
        raise Undecodable("indexed sample without embeddings")
    return IndexedSample(
        message.dataset_id,
        message.sample_id,
        message.revision,
        message.content_hash,
        wire_pages.embeddings_from(message.embeddings),
        message.prompt_hash,
    )


def encode_indexed(indexed: IndexedSample) -> bytes:
    """The identity of an accepted sample and its embeddings."""
    return serialized(
        dossier_pb2.IndexedSample(
            dataset_id=indexed.dataset_id,
            sample_id=indexed.sample_id,
            revision=indexed.revision,
            content_hash=indexed.content_hash,
            embeddings=wire_pages.embeddings_to(indexed.embeddings),
            prompt_hash=indexed.prompt_hash,
        )
    )


def accepted_from(message: dossier_pb2.AcceptedSample, _: bytes) -> AcceptedSample:
    """Raises Undecodable where the record says neither acceptance nor retraction, or not of which sample."""
    change = message.WhichOneof("change")
    if change == "accepted":
        return AcceptedSample(dossier_from(message.accepted, serialized(message.accepted)))
    if change is None:
        raise Undecodable("accepted-topic record with neither an acceptance nor a retraction")
    retracted = message.retracted
    require_dataset_id(retracted.dataset_id, "retracted.dataset_id")
    require(retracted.sample_id, "retracted.sample_id")
    return AcceptedSample(Retraction(retracted.dataset_id, retracted.sample_id, retracted.revision, retracted.reason))


def encode_accepted(accepted: AcceptedSample) -> bytes:
    """An acceptance is its dossier, unknown fields included."""
    change = accepted.change
    message = dossier_pb2.AcceptedSample()
    if isinstance(change, Dossier):
        message.accepted.ParseFromString(encode_dossier(change))
    else:
        message.retracted.CopyFrom(
            dossier_pb2.Retraction(
                dataset_id=change.dataset_id, sample_id=change.sample_id, revision=change.revision, reason=change.reason
            )
        )
    return serialized(message)
