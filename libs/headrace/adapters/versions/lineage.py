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

RETRACTED_VERSIONS_MAX = 100
"""How many versions are looked through for the last one that had a sample which was taken back: each costs a look at a shard."""

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


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The rule that took a sample out: revisions up to this one, why, who said so, and the record that carried it."""

    revision: int
    reason: str
    note: str | None
    requested_by: str
    requested_at: str
    carried: Carried


@dataclass(slots=True)
class Ancestor:
    """A sample on the way back: `depth` generations before the one asked for. Without decisions the version has no row of it.

    `taken_back` are the rules that took it out, oldest first; where there are some and no row is left, `last_version` is the
    number of the last version that had one, None where it lies further back than was looked, or no version had it.
    """

    sample_id: str
    depth: int
    parents: tuple[str, ...] = ()
    decided: list[Decided] = field(default_factory=list)
    embedded: list[tuple[str, Carried]] = field(default_factory=list)
    taken_back: list[TakenBack] = field(default_factory=list)
    last_version: int | None = None


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
    for table in await versions.find(version.manifest, RowKind.RETRACTIONS, sample_id):
        ancestor.taken_back += [_taken_back(row) for row in _plain(table, table.column_names)]
    ancestor.taken_back.sort(key=lambda rule: (rule.requested_at, rule.revision))
    if ancestor.taken_back and not any(decided.row["verdict"] == "accepted" for decided in ancestor.decided):
        ancestor.last_version = await _last_with(versions, version, sample_id)
    return ancestor


async def _last_with(versions: VersionStore, version: Version, sample_id: str) -> int | None:
    looked = 0
    async for earlier in _history(versions, version):
        if any(table.num_rows for table in await versions.find(earlier.manifest, RowKind.ACCEPTED, sample_id)):
            return earlier.manifest.sequence
        looked += 1
        if looked >= RETRACTED_VERSIONS_MAX:
            break
    return None


def _taken_back(row: dict[str, Any]) -> TakenBack:
    return TakenBack(row["revision"], row["reason"], row["note"], row["requested_by"], row["requested_at"], _carried(row))


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
