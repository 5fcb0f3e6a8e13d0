"""The wire form of checkpoint events."""

import json
import re
from typing import TypeVar

from headrace.adapters.wire.fields import Undecodable, finite, require, require_dataset_id, seconds_of, serialized, timestamp_of
from headrace.core.checkpoints import (
    CheckpointFile,
    CheckpointKind,
    CheckpointPublished,
    CheckpointRefused,
    CheckpointRolledOut,
    PositionRange,
    RefusedStep,
    RollbackRequested,
    TrainingData,
    VersionPart,
)
from headrace.core.positions import require_share
from headrace_protos.control.v1 import checkpoint_pb2

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_KIND_OF_NUMBER = {
    checkpoint_pb2.CHECKPOINT_KIND_FULL: CheckpointKind.FULL,
    checkpoint_pb2.CHECKPOINT_KIND_ADAPTER: CheckpointKind.ADAPTER,
}
_NUMBER_OF_KIND = {kind: number for number, kind in _KIND_OF_NUMBER.items()}
_Message = TypeVar("_Message", checkpoint_pb2.CheckpointRolledOut, checkpoint_pb2.CheckpointRefused)


def published_from(message: checkpoint_pb2.CheckpointPublished, _: bytes) -> CheckpointPublished:
    """Raises Undecodable where a part that names objects or folders is no plain name, or a number is impossible."""
    _require_model(message.model)
    _require_sha256(message.checkpoint_id, "checkpoint_id")
    _require_sha256(message.base_sha256, "base_sha256")
    require(message.manifest_key, "manifest_key")
    kind = _KIND_OF_NUMBER.get(message.kind)
    if kind is None:
        raise Undecodable(f"kind {message.kind} is not known to this version")
    files = tuple(map(_file_from, message.files))
    if not files:
        raise Undecodable("files is empty")
    if len({file.name for file in files}) < len(files):
        raise Undecodable("files has two of the same name")
    return CheckpointPublished(
        model=message.model,
        checkpoint_id=message.checkpoint_id,
        manifest_key=message.manifest_key,
        kind=kind,
        files=files,
        base_model=message.base_model,
        base_sha256=message.base_sha256,
        data=_data_from(message.data),
        hyperparameters_json=_json_object(message.hyperparameters_json),
        metrics={name: finite(value, f"metrics.{name}") for name, value in sorted(message.metrics.items())},
        run_id=message.run_id,
        published_at=seconds_of(message, "published_at"),
    )


def encode_published(published: CheckpointPublished) -> bytes:
    """Metrics are written in the order of their names: equal checkpoints have equal bytes."""
    return serialized(
        checkpoint_pb2.CheckpointPublished(
            model=published.model,
            checkpoint_id=published.checkpoint_id,
            manifest_key=published.manifest_key,
            kind=_NUMBER_OF_KIND[published.kind],
            files=[
                checkpoint_pb2.CheckpointFile(name=file.name, sha256=file.sha256, size_bytes=file.size_bytes)
                for file in published.files
            ],
            base_model=published.base_model,
            base_sha256=published.base_sha256,
            data=_data_to(published.data),
            hyperparameters_json=published.hyperparameters_json,
            metrics=dict(sorted(published.metrics.items())),
            run_id=published.run_id,
            published_at=timestamp_of(published.published_at),
        )
    )


def rolled_out_from(message: checkpoint_pb2.CheckpointRolledOut, _: bytes) -> CheckpointRolledOut:
    """Raises Undecodable where the model or its version is missing, or a number is impossible."""
    _require_model_and_checkpoint(message)
    require(message.model_version, "model_version")
    before = finite(message.previous_golden_loss, "previous_golden_loss") if message.HasField("previous_golden_loss") else None
    return CheckpointRolledOut(
        model=message.model,
        checkpoint_id=message.checkpoint_id,
        model_version=message.model_version,
        previous_version=message.previous_version,
        golden_loss=finite(message.golden_loss, "golden_loss"),
        previous_golden_loss=before,
        dimensions=message.dimensions,
        seconds=finite(message.seconds, "seconds"),
        load_seconds=finite(message.load_seconds, "load_seconds"),
        rollback_request_id=message.rollback_request_id,
        rolled_out_at=seconds_of(message, "rolled_out_at"),
        weights_sha256=message.weights_sha256,
    )


def encode_rolled_out(rolled_out: CheckpointRolledOut) -> bytes:
    """The roll-out with what its golden samples measured."""
    return serialized(
        checkpoint_pb2.CheckpointRolledOut(
            model=rolled_out.model,
            checkpoint_id=rolled_out.checkpoint_id,
            model_version=rolled_out.model_version,
            previous_version=rolled_out.previous_version,
            golden_loss=rolled_out.golden_loss,
            previous_golden_loss=rolled_out.previous_golden_loss,
            dimensions=rolled_out.dimensions,
            seconds=rolled_out.seconds,
            load_seconds=rolled_out.load_seconds,
            rollback_request_id=rolled_out.rollback_request_id,
            rolled_out_at=timestamp_of(rolled_out.rolled_out_at),
            weights_sha256=rolled_out.weights_sha256,
        )
    )


def refused_from(message: checkpoint_pb2.CheckpointRefused, _: bytes) -> CheckpointRefused:
    """Raises Undecodable for a step that this version does not know."""
    _require_model_and_checkpoint(message)
    if message.step not in set(RefusedStep):
        raise Undecodable(f"step {message.step[:80]!r} is not known to this version")
    return CheckpointRefused(
        message.model,
        message.checkpoint_id,
        RefusedStep(message.step),
        message.reason,
        seconds_of(message, "refused_at"),
        message.rollback_request_id,
    )


def encode_refused(refused: CheckpointRefused) -> bytes:
    """The refusal with its step and reason."""
    return serialized(
        checkpoint_pb2.CheckpointRefused(
            model=refused.model,
            checkpoint_id=refused.checkpoint_id,
            step=refused.step,
            reason=refused.reason,
            refused_at=timestamp_of(refused.refused_at),
            rollback_request_id=refused.rollback_request_id,
        )
    )


def rollback_from(message: checkpoint_pb2.RollbackRequested, _: bytes) -> RollbackRequested:
    """Raises Undecodable where the model or the request's id is missing."""
    _require_model(message.model)
    require(message.request_id, "request_id")
    if message.checkpoint_id:
        _require_sha256(message.checkpoint_id, "checkpoint_id")
    return RollbackRequested(message.model, message.request_id, message.checkpoint_id, message.requested_by)


def encode_rollback(requested: RollbackRequested) -> bytes:
    """The request as it was made."""
    return serialized(
        checkpoint_pb2.RollbackRequested(
            model=requested.model,
            request_id=requested.request_id,
            checkpoint_id=requested.checkpoint_id,
            requested_by=requested.requested_by,
        )
    )


def _data_from(message: checkpoint_pb2.TrainingData) -> TrainingData:
    require_dataset_id(message.dataset_id, "data.dataset_id")
    if message.version:
        _require_sha256(message.version, "data.version")
    if not 0 <= message.held_out_share < 1:
        raise Undecodable(f"data.held_out_share is {message.held_out_share}, not between 0 and 1")
    return TrainingData(
        message.dataset_id,
        message.version,
        tuple(map(_range_from, message.positions)),
        message.held_out_share,
        message.held_out_seed,
        message.rows_trained,
        message.rows_held_out,
        tuple(map(_part_from, message.version_parts)),
        message.streamed,
    )


def _data_to(data: TrainingData) -> checkpoint_pb2.TrainingData:
    return checkpoint_pb2.TrainingData(
        dataset_id=data.dataset_id,
        version=data.version,
        positions=map(_range_to, data.positions),
        held_out_share=data.held_out_share,
        held_out_seed=data.held_out_seed,
        rows_trained=data.rows_trained,
        rows_held_out=data.rows_held_out,
        version_parts=map(_part_to, data.version_parts),
        streamed=data.streamed,
    )


def _range_from(message: checkpoint_pb2.PositionRange) -> PositionRange:
    if not 0 <= message.from_offset <= message.until_offset:
        raise Undecodable(f"data.positions: {message.from_offset} to {message.until_offset} is no range")
    share = _share_from(message)
    return PositionRange(message.partition, message.from_offset, message.until_offset, share, message.repeats_until)


def _range_to(each: PositionRange) -> checkpoint_pb2.PositionRange:
    index, of = each.share if each.share[1] > 1 else (0, 0)
    return checkpoint_pb2.PositionRange(
        partition=each.partition,
        from_offset=each.from_offset,
        until_offset=each.until_offset,
        part_index=index,
        part_of=of,
        repeats_until=each.repeats_until,
    )


def _part_from(message: checkpoint_pb2.VersionPart) -> VersionPart:
    until = (message.until_shard, message.until_row) if message.HasField("until_shard") else None
    return VersionPart(_share_from(message), (message.from_shard, message.from_row), until)


def _part_to(each: VersionPart) -> checkpoint_pb2.VersionPart:
    index, of = each.share if each.share[1] > 1 else (0, 0)
    shard, row = each.until or (None, 0)
    return checkpoint_pb2.VersionPart(
        part_index=index, part_of=of, from_shard=each.since[0], from_row=each.since[1], until_shard=shard, until_row=row
    )


def _share_from(message: checkpoint_pb2.PositionRange | checkpoint_pb2.VersionPart) -> tuple[int, int]:
    try:
        return require_share((message.part_index, message.part_of or 1))
    except ValueError as error:
        raise Undecodable(f"data: {error}") from error


def _file_from(message: checkpoint_pb2.CheckpointFile) -> CheckpointFile:
    if not _FILE_NAME.fullmatch(message.name):
        raise Undecodable(f"files: {message.name[:80]!r} is no plain file name")
    _require_sha256(message.sha256, f"files.{message.name}.sha256")
    return CheckpointFile(message.name, message.sha256, message.size_bytes)


def _require_model_and_checkpoint(message: _Message) -> None:
    _require_model(message.model)
    if message.checkpoint_id:
        _require_sha256(message.checkpoint_id, "checkpoint_id")


def _require_model(model: str) -> None:
    if not _MODEL.fullmatch(model):
        raise Undecodable(f"model {model[:80]!r} is no model name")


def _require_sha256(text: str, what: str) -> None:
    if not _SHA256.fullmatch(text):
        raise Undecodable(f"{what} {text[:80]!r} is no SHA-256 in lower-case hex")


def _json_object(text: str) -> str:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"hyperparameters_json: {error}") from error
    if not isinstance(value, dict):
        raise Undecodable("hyperparameters_json is no JSON object")
    return text or "{}"
