"""Dataset versions: manifests, shards, references, and which staged rows the next version takes. Pure.

A version is a manifest; its id is the SHA-256 of the manifest's bytes. The manifest names shards by their own hashes, so a
version never changes, and versions share the shards that did not change. The one mutable object of a dataset is its
reference, moved by compare-and-swap.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.core.topics import require_dataset_id
from headrace.core.version_costs import StageCost

FORMAT = 1
"""Raised when an older reader would misread a manifest; new optional keys do not raise it."""

MAIN = "main"
"""The branch that services cut."""

MANIFEST_BYTES_MAX = 64 * 1024 * 1024
"""Longest manifest that is read: about 200,000 shards."""

REFERENCE_BYTES_MAX = 64 * 1024


class DamagedVersion(Exception):
    """An object of a dataset version is missing, cut off, altered or not understood; the message names it."""


class RowKind(StrEnum):
    """The tables of a version, each with shards of its own."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EMBEDDINGS = "embeddings"
    RETRACTIONS = "retractions"


class _Stored(BaseModel):
    """Keys written by a newer release are ignored; the format number says when they may not be."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Shard(_Stored):
    """One Parquet file, sorted by sample id. `model` to `dimensions` are set on embeddings, which never mix models.

    `size_bytes` is the file's length, `raw_bytes` about what its rows weigh without compression.
    """

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rows: int = Field(ge=1)
    size_bytes: int = Field(ge=1)
    raw_bytes: int = Field(ge=1)
    min_id: str
    max_id: str
    model: str = ""
    model_version: str = ""
    dimensions: int = 0

    @property
    def key(self) -> str:
        return f"shards/{self.sha256}.parquet"

    @property
    def group(self) -> tuple[str, str, int]:
        """What may share a shard: everything, but for embeddings only those of one model."""
        return (self.model, self.model_version, self.dimensions)

    def may_hold(self, sample_id: str) -> bool:
        return self.min_id <= sample_id <= self.max_id


class Counts(_Stored):
    """What became of every decision since the dataset began: decided = accepted + rejected + superseded + retracted + forgotten.

    `superseded` are acceptances that a later revision replaced, `retracted` those that were taken back, `forgotten` rejections
    of retracted samples whose bytes were removed. `embeddings_missing` are accepted rows whose embeddings
    had not arrived when the version was cut; the next version takes them in.
    """

    decided: int = 0
    accepted: int = 0
    rejected: int = 0
    superseded: int = 0
    retracted: int = 0
    forgotten: int = 0
    embeddings: int = 0
    embeddings_missing: int = 0


class Manifest(_Stored):
    """Everything there is to know about a version, but for its id, which is the hash of these bytes.

    `inputs` are the last Kafka offsets taken, by stream ("decided/00002"): where the next version begins. `reasons`,
    `policies`, `models` and `recipes` (by name and version) count decisions since the dataset began; `costs` says what they
    cost, by stage.
    """

    format: Literal[1] = 1
    dataset: str
    sequence: int = Field(ge=1)
    parent: str | None = None
    schemas: Mapping[RowKind, str]
    shards: Mapping[RowKind, tuple[Shard, ...]]
    counts: Counts
    reasons: Mapping[str, int]
    policies: Mapping[str, int]
    models: Mapping[str, int]
    recipes: Mapping[str, int] = Field(default_factory=dict)
    costs: Mapping[str, StageCost] = Field(default_factory=dict)
    inputs: Mapping[str, int]
    forgotten: Mapping[RowKind, int] = Field(default_factory=dict, exclude=True)
    """How many rows were removed since the version was cut (`headrace.core.version_gaps`); a fact of today, never stored."""

    def shards_of(self, kind: RowKind) -> tuple[Shard, ...]:
        return self.shards.get(kind, ())


class Reference(_Stored):
    """Which version a branch is at. `cut_by` names the event that the version answers, so that a redelivered one is known."""

    format: Literal[1] = 1
    dataset: str
    branch: str = MAIN
    version: str = Field(pattern="^[0-9a-f]{64}$")
    sequence: int = Field(ge=1)
    cut_by: str


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8, no NaN."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("utf-8")


def stored_bytes(stored: Manifest | Reference) -> bytes:
    """Equal manifests (references) have equal bytes."""
    return canonical_json(stored.model_dump(mode="json"))


def version_of(manifest_bytes: bytes) -> str:
    """The version id: SHA-256, lower-case hex."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def manifest_from(body: bytes, key: str, version: str) -> Manifest:
    """Raises DamagedVersion where the bytes are not the manifest of that version, or come from a newer release."""
    if version_of(body) != version:
        raise DamagedVersion(f"{key}: the bytes have the hash {version_of(body)[:12]}, not {version[:12]}: altered or cut off")
    return stored_from(Manifest, body, key)


def reference_from(body: bytes, key: str) -> Reference:
    """Raises DamagedVersion where the bytes are no reference, or come from a newer release."""
    return stored_from(Reference, body, key)


StoredType = TypeVar("StoredType", bound=BaseModel)


def stored_from(kind: type[StoredType], body: bytes, key: str) -> StoredType:
    """What was stored under a key. Raises DamagedVersion where the bytes are no such thing, or come from a newer release."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DamagedVersion(f"{key}: not JSON: {error}") from error
    written = value.get("format") if isinstance(value, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise DamagedVersion(f"{key}: written in format {written}, this release reads up to {FORMAT}: update headrace")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise DamagedVersion(f"{key}: no {kind.__name__.lower()}: {error}") from error


def reference_key(dataset_id: str, branch: str = MAIN) -> str:
    """Where a branch's reference lies. Raises ValueError where the dataset id is no plain name."""
    return f"refs/{require_dataset_id(dataset_id)}/{branch}.json"


def manifest_prefix(dataset_id: str) -> str:
    """Under which a dataset's manifests lie, in the order of their sequence numbers."""
    return f"manifests/{require_dataset_id(dataset_id)}/"


def manifest_key(dataset_id: str, sequence: int, version: str) -> str:
    """Where a version's manifest lies."""
    return f"{manifest_prefix(dataset_id)}{sequence:08}-{version}.json"


TIER_BASE = 16
"""Shards of a tier that are merged into one of the next: a dataset of any number of cuts has few shards."""


def to_merge(shards: Sequence[Shard], rows_max: int, bytes_max: int) -> tuple[Shard, ...]:
    """The shards that are due to be merged, none where none are.

    A tier holds shards of one group with the same magnitude of rows; sixteen of a tier are merged. A row is therefore
    written again at most once per magnitude, however small the cuts are. Shards that are half full are left alone.
    """
    tiers: dict[tuple[tuple[str, str, int], int], list[Shard]] = {}
    for shard in shards:
        if 2 * shard.rows <= rows_max and 2 * shard.raw_bytes <= bytes_max:
            tiers.setdefault((shard.group, _tier(shard.rows)), []).append(shard)
    return next((tuple(tiers[tier]) for tier in sorted(tiers) if len(tiers[tier]) >= TIER_BASE), ())


def _tier(rows: int) -> int:
    tier = 0
    while rows >= TIER_BASE:
        rows //= TIER_BASE
        tier += 1
    return tier


def added(*tallies: Mapping[str, int]) -> dict[str, int]:
    """The sum of tallies, key by key."""
    total: dict[str, int] = {}
    for tally in tallies:
        for name, count in tally.items():
            total[name] = total.get(name, 0) + count
    return total


def in_id_order(shards: Iterable[Shard]) -> tuple[Shard, ...]:
    """The order in a manifest: by first id; the hash settles ties."""
    return tuple(sorted(shards, key=lambda shard: (shard.group, shard.min_id, shard.max_id, shard.sha256)))


@dataclass(frozen=True, slots=True)
class Version:
    """A version's id and its manifest."""

    id: str
    manifest: Manifest

    @property
    def manifest_key(self) -> str:
        return manifest_key(self.manifest.dataset, self.manifest.sequence, self.id)


class CutContended(Exception):
    """Others moved the reference every time; nothing is lost, and another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The version that answers a cut; `new` is False where there was nothing to cut. `committed_at` is the store's clock."""

    version: Version
    committed_at: float
    new: bool
