"""Stated gaps: what was removed from versions after they were cut, so that readers report a gap and not damage. Pure.

A version's manifest never changes. Where a retracted sample's bytes were removed from a shard, a gap record under the shard's
hash names the shard that stands in for it; whoever reads the manifest follows it. Where old versions were pruned, one record
for each dataset says up to where.
"""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.core.topics import require_dataset_id
from headrace.core.versions import Manifest, RowKind, Shard, canonical_json, stored_from

GAP_PREFIX = "forgotten/"
GAP_BYTES_MAX = 1024 * 1024
_SHA256_DIGITS = 64


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1


class Gap(_Record):
    """`rows` rows of one sample were removed from a shard; `replacement` is what is left, None where nothing is.

    They lay side by side from row `first_row` on, counted from 0; None in a record of an earlier release. The sample is named by
    the SHA-256 of its id: enough to look it up, not to tell it.
    """

    dataset: str
    kind: RowKind
    shard: str = Field(pattern="^[0-9a-f]{64}$")
    replacement: Shard | None
    rows: int = Field(ge=1)
    first_row: int | None = Field(None, ge=0)
    sample_sha256: str = Field(pattern="^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class CutShard:
    """What is left of a shard in the place that a version was cut with, None where nothing is; forgetting moves no row's place.

    `lacking` are the rows that were removed, ascending, by their places as cut. Where `is_exact` is not set, a record of an
    earlier release does not say which ones: they count as the first rows of what it had, so that whoever goes on from a place
    misses nothing, and may get as many rows again.
    """

    left: Shard | None
    lacking: Sequence[int] = ()
    is_exact: bool = True

    def rows_before(self, place: int) -> int:
        """How many rows are left of the first `place` rows as cut."""
        return place - bisect_left(self.lacking, place)

    def places_behind(self, rows: range) -> Sequence[int]:
        """For each of these rows of what is left how many rows as cut are taken once it is."""
        if not self.lacking:
            return range(rows.start + 1, rows.stop + 1)
        return [place_of(row, self.lacking) + 1 for row in rows]


class Pruned(_Record):
    """The dataset's versions below number `before` are no longer kept, but for those that a tag names."""

    dataset: str
    before: int = Field(ge=2)


def gap_key(shard_sha256: str) -> str:
    """Where the gap record of a shard lies."""
    return f"{GAP_PREFIX}{shard_sha256}.json"


def gap_of(key: str) -> str | None:
    """The hash of the shard whose gap record has this key; None where the key is none."""
    digits = key.removeprefix(GAP_PREFIX).removesuffix(".json")
    return digits if len(digits) == _SHA256_DIGITS else None


def pruned_key(dataset_id: str) -> str:
    """Where it is said how far a dataset's history was pruned. Raises ValueError where the dataset id is no plain name."""
    return f"pruned/{require_dataset_id(dataset_id)}.json"


def record_bytes(record: Gap | Pruned) -> bytes:
    """Equal records have equal bytes."""
    return canonical_json(record.model_dump(mode="json"))


def gap_from(body: bytes, key: str) -> Gap:
    """Raises DamagedVersion where the bytes are no gap record, or come from a newer release."""
    return stored_from(Gap, body, key)


def pruned_from(body: bytes, key: str) -> Pruned:
    """Raises DamagedVersion where the bytes are no such record, or come from a newer release."""
    return stored_from(Pruned, body, key)


def sample_digest(sample_id: str) -> str:
    """How a gap record names a sample."""
    return hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()


def filled(manifest: Manifest, gaps: Mapping[str, Gap]) -> Manifest:
    """The manifest with the shards that stand in for those with gaps; `forgotten` says how many rows each kind lacks."""
    forgotten: dict[RowKind, int] = {}
    shards: dict[RowKind, tuple[Shard, ...]] = {}
    for kind, before in manifest.shards.items():
        stand_ins = [stand_in(shard, gaps) for shard in before]
        shards[kind] = tuple(shard for shard in stand_ins if shard is not None)
        lacking = sum(shard.rows for shard in before) - sum(shard.rows for shard in shards[kind])
        if lacking:
            forgotten[kind] = lacking
    return manifest.model_copy(update={"shards": shards, "forgotten": forgotten}) if forgotten else manifest


def stand_in(shard: Shard, gaps: Mapping[str, Gap]) -> Shard | None:
    """The shard itself, or what is left of it; None where nothing is."""
    left: Shard | None = shard
    while left is not None and left.sha256 in gaps:
        left = gaps[left.sha256].replacement
    return left


def as_cut(shard: Shard, gaps: Mapping[str, Gap]) -> CutShard:
    """The shard in the place it was cut with, with all that was removed from it."""
    left: Shard | None = shard
    lacking: list[int] = []
    is_exact = True
    while left is not None and left.sha256 in gaps:
        gap = gaps[left.sha256]
        left = gap.replacement
        if left is not None:
            for _ in range(gap.rows):  # each one closes up to where the one before it was
                insort(lacking, place_of(gap.first_row or 0, lacking))
        is_exact = is_exact and gap.first_row is not None
    return CutShard(left, lacking, is_exact or left is None)


def place_of(row: int, lacking: Sequence[int]) -> int:
    """The place that a row had before these were removed, ascending places all."""
    return row + bisect_right(range(len(lacking)), row, key=lambda index: lacking[index] - index)
