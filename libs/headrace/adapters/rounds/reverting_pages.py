"""What of a round stands: the version that it surveyed held against what stands now, page by page, in order of the ids.

A row that the round rewrote and that still stands comes back as it was; so does one that it took out, unless somebody else has
taken it back besides. A row that it added leaves. Whatever others sent, accepted or retracted is none of it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from headrace.adapters.rounds.parquet_rows import rows_of
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_pages import PageLimits, dossier_in
from headrace.adapters.versions.diff import diff
from headrace.adapters.versions.store import VersionStore
from headrace.core.retractions import RetractionReason, RetractionRequested
from headrace.core.rounds.pages import RevertPage
from headrace.core.rounds.restorations import left_behind, restored
from headrace.core.rounds.surveys import RevertRequested, Survey
from headrace.core.version_diff import Change, ChangeKind
from headrace.core.versions import DamagedVersion, Manifest, RowKind, Shard

TAKEN_OUT = frozenset({RetractionReason.REDUNDANT.value, RetractionReason.UNMENDED.value})
"""Reasons by which a round takes rows out of the dataset that it surveyed."""


class RevertingPages:
    """Pages of what is to be undone.

    Raises, at every call:
        DamagedVersion, NoSuchVersion: a version or a shard of it is missing, pruned or altered; the message names it.
        NoRevisionLeft: there is no number for a row that is to come back.
        Stop: the store is gone.
    """

    def __init__(
        self, versions: VersionStore, files: ShardFiles, limits: PageLimits, clock: Callable[[], float] = time.time
    ) -> None:
        self._versions = versions
        self._files = files
        self._limits = limits
        self._clock = clock

    async def read(self, asked: RevertRequested) -> RevertPage:
        """The next rows that are to come back or to leave, as many as a page of a survey may hold; of forgotten ones nothing."""
        try:
            return await self._page(asked)
        except DamagedVersion:
            await self._versions.gaps.refresh()  # a sample in a shard may just have been forgotten
            return await self._page(asked)

    async def _page(self, asked: RevertRequested) -> RevertPage:
        survey = asked.survey
        surveyed = await self._versions.manifest(survey.dataset_id, survey.version)
        standing = await self._versions.manifest(survey.dataset_id, asked.standing)
        back: dict[str, int] = {}
        leaving: list[RetractionRequested] = []
        last, reached = "", None
        async with aclosing(diff(self._versions.objects, surveyed, standing, behind=asked.after)) as changes:
            async for change in changes:
                revision = _by_round(change, survey.round_id)
                if revision is None:
                    continue
                if len(back) + len(leaving) == self._limits.rows_max:
                    reached = last
                    break
                last = change.sample_id
                if change.kind is ChangeKind.ADDED:
                    leaving.append(_leaving(survey, change.sample_id, revision))
                else:
                    back[change.sample_id] = revision
        return await self._made(asked, surveyed, back, leaving, reached)

    async def _made(
        self,
        asked: RevertRequested,
        surveyed: Manifest,
        back: Mapping[str, int],
        leaving: Sequence[RetractionRequested],
        reached: str | None,
    ) -> RevertPage:
        """The page with its rows, up to the id `reached`, or to the end; it ends before that where its dossiers are too large."""
        found = await self._dossiers(surveyed, back)
        size = 0
        taken: list[str] = []
        for sample_id in sorted(found):
            size += len(found[sample_id][1])
            if taken and size > self._limits.bytes_max:
                reached = max(taken)
                break
            taken.append(sample_id)
        now, round_id = self._clock(), asked.survey.round_id
        return RevertPage(
            tuple(restored(dossier_in(found[each][1], found[each][0]), back[each], round_id, now) for each in taken),
            tuple(each for each in leaving if reached is None or each.sample_id <= reached),
            None if reached is None else replace(asked, after=reached),
        )

    async def _dossiers(self, manifest: Manifest, sample_ids: Mapping[str, int]) -> dict[str, tuple[Shard, bytes]]:
        found: dict[str, tuple[Shard, bytes]] = {}
        for shard in manifest.shards_of(RowKind.ACCEPTED):
            wanted = [each for each in sample_ids if shard.may_hold(each) and each not in found]
            if wanted:
                async with self._files.held(shard) as path:
                    found.update(await asyncio.to_thread(_dossiers_in, path, shard, wanted))
        return found


def _by_round(change: Change, round_id: str) -> int | None:
    """The latest revision that the round gave a sample, or by which it took it out; None where it was not the round."""
    if change.after is not None:
        return change.after.revision if change.after.origin_round == round_id else None
    rule = change.retracted
    if rule is None or rule.reason not in TAKEN_OUT or not rule.request_id.startswith(f"{round_id}/"):
        return None
    return rule.revision


def _leaving(survey: Survey, sample_id: str, revision: int) -> RetractionRequested:
    return left_behind(survey.dataset_id, sample_id, revision, survey.round_id, f"round {survey.round_id}")


def _dossiers_in(path: Path, shard: Shard, sample_ids: Sequence[str]) -> dict[str, tuple[Shard, bytes]]:
    rows = rows_of(path, shard.key, ("sample_id", "dossier"), sample_ids)
    return {row["sample_id"]: (shard, row["dossier"]) for row in rows}
