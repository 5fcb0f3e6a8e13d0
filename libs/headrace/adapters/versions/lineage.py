"""Where a row comes from: its parents and theirs, what was decided on each, and the events that carried them."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from headrace.adapters.versions.store import VersionStore
from headrace.core.staged import source_of
from headrace.core.versions import RowKind, Version

VERSIONS_MAX = 1_000
"""How many versions are looked back for the one that took a decision in first."""

_DECIDED = [
    "sample_id", "revision", "content_hash", "verdict", "reason", "detail", "policy_version", "model", "model_version",
    "loss_mean", "density", "origin_kind", "origin_parent_ids", "origin_recipe", "origin_recipe_version", "origin_round",
    "origin_axis", "origin_entry", "submitted_at", "decided_at", "stream", "offset",
]  # fmt: skip
_CARRIED = ["sample_id", "revision", "model", "model_version", "stream", "offset"]


@dataclass(frozen=True, slots=True)
class Carried:
    """A Kafka record that carried the row: its topic, partition and offset."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Decided:
    """One decision on one revision: the row's columns, the record that told it, and the version that took it in first.

    `first_version` is the number of that version, None where it lies further back than was looked.
    """

    row: dict[str, Any]
    carried: Carried
    first_version: int | None = None

    @property
    def stream(self) -> str:
        stream: str = self.row["stream"]
        return stream


@dataclass(slots=True)
class Ancestor:
    """A sample on the way back: `depth` generations before the one asked for. Without decisions the version does not know it."""

    sample_id: str
    depth: int
    parents: tuple[str, ...] = ()
    decided: list[Decided] = field(default_factory=list)
    embedded: list[tuple[str, Carried]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The sample asked for and its ancestors, nearest first; `complete` is False where there were more than wanted."""

    ancestors: tuple[Ancestor, ...]
    complete: bool


async def lineage(versions: VersionStore, version: Version, sample_id: str, samples_max: int) -> Lineage:
    """A sample's ancestry in a version, itself first, each sample once however often it is an ancestor.

    Raises:
        DamagedVersion: a shard or manifest on the way is missing or altered.
        Stop: the store is gone.
    """
    found: dict[str, Ancestor] = {}
    waiting = deque([(sample_id, 0)])
    while waiting and len(found) < samples_max:
        wanted, depth = waiting.popleft()
        if wanted not in found:
            found[wanted] = await _ancestor(versions, version, wanted, depth)
            waiting.extend((parent, depth + 1) for parent in found[wanted].parents)
    await _date(versions, version, [decided for ancestor in found.values() for decided in ancestor.decided])
    return Lineage(tuple(found.values()), complete=all(wanted in found for wanted, _ in waiting))


async def _ancestor(versions: VersionStore, version: Version, sample_id: str, depth: int) -> Ancestor:
    ancestor = Ancestor(sample_id, depth)
    for kind in (RowKind.ACCEPTED, RowKind.REJECTED):
        for table in await versions.find(version.manifest, kind, sample_id):
            ancestor.decided += [Decided(row, _carried(row)) for row in _plain(table, _DECIDED)]
    ancestor.decided.sort(key=lambda decided: (decided.row["decided_at"], decided.row["revision"]))
    parents = [parent for decided in ancestor.decided for parent in decided.row["origin_parent_ids"] or ()]
    ancestor.parents = tuple(dict.fromkeys(parent for parent in parents if parent != sample_id))
    for table in await versions.find(version.manifest, RowKind.EMBEDDINGS, sample_id):
        ancestor.embedded += [(f"{row['model']} {row['model_version']}", _carried(row)) for row in _plain(table, _CARRIED)]
    return ancestor


async def _date(versions: VersionStore, version: Version, decided: list[Decided]) -> None:
    """Say which version took each decision in first: the oldest whose inputs reach the decision's offset."""
    looked = 0
    async for earlier in _history(versions, version):
        open_still = [each for each in decided if earlier.manifest.inputs.get(each.stream, -1) >= each.carried.offset]
        for each in open_still:
            each.first_version = earlier.manifest.sequence
        looked += 1
        if not open_still:
            return
        if looked >= VERSIONS_MAX:
            for each in open_still:
                each.first_version = None
            return


async def _history(versions: VersionStore, version: Version) -> AsyncIterator[Version]:
    current: Version | None = version
    while current is not None:
        yield current
        current = await versions.parent(current)


def _carried(row: dict[str, Any]) -> Carried:
    topic, partition = source_of(row["stream"])
    return Carried(topic, partition, row["offset"])


def _plain(table: pa.Table, columns: Iterable[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(list(columns)).to_pylist()
    for row in rows:
        row.update({name: value.isoformat() for name, value in row.items() if isinstance(value, datetime)})
    return rows
