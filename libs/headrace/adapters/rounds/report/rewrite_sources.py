"""Where a round's rewrites lie: in the version that it committed, else in what was cut and staged since its survey."""

import asyncio
from collections.abc import Sequence

from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.rewrite_reading import Attempts
from headrace.adapters.rounds.report.shard_groups import value_counts
from headrace.adapters.versions.finder import VersionFinder
from headrace.adapters.versions.gaps import pruned_before
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.report.contents import RewriteNumbers, VersionNumbers
from headrace.core.rounds.state import RoundState
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import Manifest, RowKind, Shard, added, manifest_key

STAGED = "the staging area, for the next version"
_KINDS = (RowKind.ACCEPTED, RowKind.REJECTED)
_COLUMNS = ("origin_round", "dossier", "costs", "offset")


async def committed_rewrites(objects: ObjectStore, manifest: Manifest, round_id: str, limits: ReportLimits) -> RewriteNumbers:
    """Every attempt of the round that its version has a decision on.

    Raises:
        DamagedVersion: a shard is missing or cannot be read.
        Stop: the store is gone.
    """
    attempts = Attempts(round_id, limits)
    for shard in _shards(manifest):
        await asyncio.to_thread(attempts.look_through, objects, shard, _name(manifest))
    return attempts.numbers()


async def loose_rewrites(versions: VersionStore, state: RoundState, limits: ReportLimits) -> RewriteNumbers:
    """Every attempt of a round without a version that was decided, in versions behind the one surveyed and staged behind them.

    A later version keeps what was turned away and what still stands; what was replaced since is in those between. Of each
    version only shards are read that the one before it does not have. Raises as `committed_rewrites` does.
    """
    objects, dataset_id = versions.objects, state.dataset_id
    attempts = Attempts(state.round_id, limits)
    manifests, unread = await _since(versions, dataset_id, state.begun.version_sequence, limits.versions_max)
    before = await _surveyed(versions, state)
    for manifest in manifests:
        shards = _shards(manifest)
        for shard in shards:
            if shard not in before:
                await asyncio.to_thread(attempts.look_through, objects, shard, _name(manifest))
        before = frozenset(shards)
    staging, inputs = StagingArea(objects), manifests[-1].inputs if manifests else {}
    for part in (await staging.since(dataset_id, inputs)).slices(decided=True):
        table = await staging.read(dataset_id, part, _COLUMNS)
        await asyncio.to_thread(attempts.take, table.filter(attempts.are_ours(table)), STAGED)
    return attempts.numbers(unread)


async def version_numbers(objects: ObjectStore, manifest: Manifest) -> VersionNumbers:
    """The version's accepted rows by origin. Raises as `committed_rewrites` does."""
    shards = manifest.shards_of(RowKind.ACCEPTED)
    return VersionNumbers(added(*[await asyncio.to_thread(value_counts, objects, shard, "origin_kind") for shard in shards]))


async def _since(versions: VersionStore, dataset_id: str, surveyed: int, most: int) -> tuple[Sequence[Manifest], int]:
    """The versions behind number `surveyed`, oldest first: so many and the latest. And how many there are, or were, besides.

    Where nothing was cut since it is the one surveyed, which tells where staging goes on.
    """
    latest = await versions.latest(dataset_id)
    if latest is None:
        return (), 0
    last = latest.manifest.sequence
    first = max(surveyed + 1, await pruned_before(versions.objects, dataset_id))
    finder = VersionFinder(versions.objects, versions.manifest_at, dataset_id, latest)
    numbers = range(first, min(first + most, last))
    manifests = [(await finder.find(str(number))).manifest for number in numbers]
    return (*manifests, latest.manifest), max(0, last - surveyed - len(manifests) - 1)


async def _surveyed(versions: VersionStore, state: RoundState) -> frozenset[Shard]:
    """The shards of the version surveyed, which no rewrite of the round can be in; none where it is no longer kept."""
    version, sequence = state.begun.survey.version, state.begun.version_sequence
    try:
        return frozenset(_shards(await versions.manifest_at(manifest_key(state.dataset_id, sequence, version), version)))
    except NoSuchVersion:
        return frozenset()


def _shards(manifest: Manifest) -> list[Shard]:
    return [shard for kind in _KINDS for shard in manifest.shards_of(kind)]


def _name(manifest: Manifest) -> str:
    return f"version {manifest.sequence}"
