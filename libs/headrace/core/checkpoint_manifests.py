"""A checkpoint's manifest: what the weights are, how they came about, and which objects hold them. Pure.

A checkpoint is a manifest; its id is the SHA-256 of the manifest's bytes. Neither time nor attempt is in it, so the same
weights with the same details are the same checkpoint, however often they are published.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.core.checkpoints import CheckpointFile, CheckpointKind, CheckpointPublished, TrainingData
from headrace.core.versions import canonical_json

FORMAT = 1
"""Raised when an older reader would misread a manifest; new optional keys do not raise it."""

MANIFEST_BYTES_MAX = 8 * 1024 * 1024
"""Longest manifest that is written or read."""


class BadCheckpoint(Exception):
    """A checkpoint that must not be used; the message names the object or file and says why."""


class DamagedCheckpoint(BadCheckpoint):
    """An object of the checkpoint is missing, cut off, altered or not understood."""


class UnsafeCheckpoint(BadCheckpoint):
    """The checkpoint holds what is not loaded here: other kinds of files, too much, or a file that is not what its name says."""


@dataclass(frozen=True, slots=True)
class CheckpointDetails:
    """What a trainer says of its weights; see `CheckpointPublished` for what each field means.

    `hyperparameters` hold what JSON can; `metrics` are finite.
    """

    model: str
    kind: CheckpointKind
    base_model: str
    base_sha256: str
    data: TrainingData
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    run_id: str = ""


class CheckpointManifest(BaseModel):
    """The manifest as it is stored. Keys written by a newer release are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    model: str
    kind: CheckpointKind
    base_model: str
    base_sha256: str
    data: TrainingData
    hyperparameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    run_id: str
    files: tuple[CheckpointFile, ...]


def manifest_bytes(details: CheckpointDetails, files: Sequence[CheckpointFile]) -> bytes:
    """Equal details and files (in any order) have equal bytes.

    Raises:
        ValueError: a metric is not finite, or a hyper-parameter is nothing that JSON can hold.
    """
    wrong = sorted(name for name, value in details.metrics.items() if not math.isfinite(value))
    if wrong:
        raise ValueError(f"metrics {', '.join(wrong)}: not finite numbers")
    manifest = CheckpointManifest(
        model=details.model,
        kind=details.kind,
        base_model=details.base_model,
        base_sha256=details.base_sha256,
        data=details.data,
        hyperparameters=details.hyperparameters,
        metrics=details.metrics,
        run_id=details.run_id,
        files=tuple(sorted(files, key=lambda file: file.name)),
    )
    stored = manifest.model_dump(mode="json")
    _leave_out_defaults(stored["data"])
    return canonical_json(stored)


def _leave_out_defaults(data: dict[str, Any]) -> None:
    """Drops keys that came later and say nothing: a checkpoint that needs none of them keeps the id it always had."""
    for each in data["positions"]:
        if each["share"] == [0, 1]:
            del each["share"]
        if not each["repeats_until"]:
            del each["repeats_until"]
    for name in ("version_parts", "streamed"):
        if not data[name]:
            del data[name]


def checkpoint_id_of(manifest: bytes) -> str:
    """The checkpoint id: SHA-256, lower-case hex."""
    return hashlib.sha256(manifest).hexdigest()


def manifest_key(model: str, checkpoint_id: str) -> str:
    """Where a checkpoint's manifest lies."""
    return f"checkpoints/{model}/{checkpoint_id}.json"


def blob_key(sha256: str) -> str:
    """Where a file of that content lies; checkpoints share it."""
    return f"checkpoints/blobs/{sha256}"


def published_of(manifest: bytes, published_at: float) -> CheckpointPublished:
    """The event that announces the checkpoint of this manifest. Raises DamagedCheckpoint where the bytes are no manifest."""
    checkpoint_id = checkpoint_id_of(manifest)
    stored = manifest_from(manifest, f"manifest {checkpoint_id[:12]}", checkpoint_id)
    return CheckpointPublished(
        model=stored.model,
        checkpoint_id=checkpoint_id,
        manifest_key=manifest_key(stored.model, checkpoint_id),
        kind=stored.kind,
        files=stored.files,
        base_model=stored.base_model,
        base_sha256=stored.base_sha256,
        data=stored.data,
        published_at=published_at,
        hyperparameters_json=canonical_json(stored.hyperparameters).decode(),
        metrics=dict(sorted(stored.metrics.items())),
        run_id=stored.run_id,
    )


def manifest_from(body: bytes, key: str, checkpoint_id: str) -> CheckpointManifest:
    """Raises DamagedCheckpoint where the bytes are not the manifest of that checkpoint, or come from a newer release."""
    found = checkpoint_id_of(body)
    if found != checkpoint_id:
        raise DamagedCheckpoint(f"{key}: the bytes have the hash {found[:12]}, not {checkpoint_id[:12]}: altered or cut off")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{key}: not JSON: {error}") from error
    written = value.get("format") if isinstance(value, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise DamagedCheckpoint(f"{key}: written in format {written}, this release reads up to {FORMAT}: update headrace")
    try:
        return CheckpointManifest.model_validate(value)
    except ValidationError as error:
        raise DamagedCheckpoint(f"{key}: no manifest of a checkpoint: {error}") from error


def require_agreement(manifest: CheckpointManifest, published: CheckpointPublished) -> None:
    """Raises DamagedCheckpoint where the event says something else than the manifest it names."""
    said = (published.model, published.kind, published.base_sha256, sorted(published.files, key=lambda file: file.name))
    stored = (manifest.model, manifest.kind, manifest.base_sha256, sorted(manifest.files, key=lambda file: file.name))
    if said != stored:
        raise DamagedCheckpoint(
            f"{published.manifest_key}: the event names another model, kind, base or other files than it holds"
        )
