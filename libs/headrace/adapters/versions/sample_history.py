"""What became of one sample: its decisions in the latest version, behind it, and what earlier versions alone still have."""

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from headrace.adapters.versions.earlier_versions import EarlierVersions
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire import events as wire
from headrace.core.dossiers import Dossier, Verdict
from headrace.core.versions import RowKind, Version

CHANGES_MAX = 200
"""Acceptances and retractions of one sample that are followed back: each costs a look at some manifests and a shard or two."""


@dataclass(frozen=True, slots=True)
class Ending:
    """One way a sample ended: the dossier as it was then, where it is kept, and when it ended (Unix seconds; None: not kept).

    `error` is set on dead letters: why no decision could be made.
    """

    where: str
    dossier: Dossier
    ended_at: float | None
    error: str = ""

    @property
    def accepted_revision(self) -> int | None:
        """The revision that was accepted, None where none was."""
        decisions = self.dossier.decisions
        return self.dossier.sample.revision if decisions and decisions[-1].verdict is Verdict.ACCEPTED else None


@dataclass(frozen=True, slots=True)
class SampleHistory:
    """A sample's endings, oldest first, and in words for people what of it cannot be told."""

    endings: tuple[Ending, ...] = ()
    notes: tuple[str, ...] = ()


async def history(versions: VersionStore, dataset_id: str, sample_id: str) -> SampleHistory:
    """A sample's decisions: from the latest version's shards, staged for the next, and from earlier versions what left them.

    Where an accepted revision was replaced or taken back, the version before is looked up by halves. Reads only row groups that
    may hold the sample.

    Raises:
        ValueError: the dataset id is no plain name.
        DamagedVersion: an object of a version, or a staged segment, is missing or altered.
        Stop: the store is gone.
    """
    latest = await versions.latest(dataset_id)
    inputs = latest.manifest.inputs if latest else {}
    tables = await StagingArea(versions.objects).find(dataset_id, inputs, sample_id)
    staged = [ending for table in tables for ending in _endings_in(table, "staged for the next version")]
    if latest is None:
        return SampleHistory(_in_order(staged))
    stand = [
        ending
        for kind in (RowKind.ACCEPTED, RowKind.REJECTED)
        for table in await versions.find(latest.manifest, kind, sample_id)
        for ending in _endings_in(table, f"{_name(latest)}, {kind.value}")
    ]
    left = _Left(versions, latest, sample_id)
    await left.look([each for ending in stand if (each := ending.accepted_revision) is not None])
    endings = _in_order([*left.endings, *_about_to_be_replaced(stand, staged), *staged])
    return SampleHistory(endings, (*left.notes, *_parents_missing(endings)))


@dataclass(frozen=True, slots=True)
class _Change:
    """A record that took revisions up to `upto` out of the version that took it in, in words without that version."""

    stream: str
    offset: int
    upto: int
    words: str


class _Left:
    """What the latest version has no more: accepted revisions that were replaced or taken back."""

    def __init__(self, versions: VersionStore, latest: Version, sample_id: str) -> None:
        self._versions = versions
        self._earlier = EarlierVersions(versions, latest)
        self._sample_id = sample_id
        self.endings: list[Ending] = []
        self.notes: list[str] = []

    async def look(self, standing: list[int]) -> None:
        """Follow each change of the sample back to the version before it, and the changes found there in turn."""
        known, pruned = set(standing), False
        changes = await self._changes(self._earlier.version)
        looked = 0
        while looked < min(len(changes), CHANGES_MAX):
            change, looked = changes[looked], looked + 1
            first = await self._earlier.first_with(change.stream, change.offset)
            before = await self._earlier.just_before(first)
            if before is None:
                pruned = pruned or first > 1
                continue
            for ending in await self._accepted(before, f"{change.words} in version {first}"):
                revision = ending.dossier.sample.revision
                if revision not in known and revision <= change.upto:
                    known.add(revision)
                    self.endings.append(ending)
            changes += [each for each in await self._changes(before) if each not in changes]
        if looked < len(changes):
            self.notes.append(f"there may be earlier revisions: {CHANGES_MAX} acceptances and retractions were followed back")
        if pruned:
            oldest = await self._earlier.oldest()
            self.notes.append(f"versions before number {oldest} were pruned: what was replaced or taken back by then is not told")
        if self._versions.gaps.forgot(self._sample_id):
            self.notes.append("rows of this sample were forgotten (`headrace dataset gc --forget`): they are not told")

    async def _accepted(self, version: Version, fate: str) -> list[Ending]:
        tables = await self._versions.find(version.manifest, RowKind.ACCEPTED, self._sample_id)
        return [ending for table in tables for ending in _endings_in(table, f"{_name(version)}, accepted; {fate}")]

    async def _changes(self, version: Version) -> list[_Change]:
        """What may have taken an earlier revision out of this version or one before; below revision 0 there is none."""
        accepted, rules = [
            [row for table in await self._versions.find(version.manifest, kind, self._sample_id) for row in _positions(table)]
            for kind in (RowKind.ACCEPTED, RowKind.RETRACTIONS)
        ]
        taken_back = [_Change(row["stream"], row["offset"], row["revision"], "taken back") for row in rules]
        return taken_back + [
            _Change(row["stream"], row["offset"], row["revision"] - 1, f"replaced by revision {row['revision']}")
            for row in accepted
            if row["revision"]
        ]


def _positions(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(["revision", "stream", "offset"]).to_pylist()
    return rows


def _about_to_be_replaced(stand: list[Ending], staged: list[Ending]) -> list[Ending]:
    """The latest version's endings; an accepted one says which staged revision is to take its place."""
    latest = max((each for ending in staged if (each := ending.accepted_revision) is not None), default=-1)
    return [
        replace(ending, where=f"{ending.where}; to be replaced by revision {latest} in the next version")
        if ending.accepted_revision is not None and ending.accepted_revision < latest
        else ending
        for ending in stand
    ]


def _parents_missing(endings: tuple[Ending, ...]) -> list[str]:
    """Revisions that a rewrite was made of, and that are in none of the places looked at."""
    rewrites = [ending.dossier.rewrite for ending in endings if ending.dossier.rewrite is not None]
    sample_ids = {ending.dossier.sample.id for ending in endings}
    parents = {rewrite.parent.revision for rewrite in rewrites if rewrite.parent.id in sample_ids}
    missing = sorted(parents - {ending.accepted_revision for ending in endings})
    return [f"revision {revision}, which a rewrite was made of, is in no version that was looked at" for revision in missing]


def _in_order(endings: list[Ending]) -> tuple[Ending, ...]:
    return tuple(sorted(endings, key=lambda ending: ending.ended_at or 0))


def _name(version: Version) -> str:
    return f"version {version.manifest.sequence} ({version.id[:12]})"


def _endings_in(table: pa.Table, where: str) -> list[Ending]:
    rows: list[dict[str, Any]] = table.select(["dossier", "decided_at"]).to_pylist()
    return [Ending(where, wire.decode(Dossier, row["dossier"]), row["decided_at"].timestamp()) for row in rows]
