"""Reading a version's accepted rows page by page, from any row on: what a survey sends out."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.adapters.rounds.base_losses import with_base_losses
from headrace.adapters.rounds.parquet_rows import rows_behind, rows_from
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire import events as wire
from headrace.core.dossiers import Dossier, Signals
from headrace.core.rounds.pages import SurveyPage
from headrace.core.rounds.surveys import Purpose, Survey, SurveyedSample, SurveyRequested
from headrace.core.versions import DamagedVersion, RowKind, Shard


@dataclass(frozen=True, slots=True)
class PageLimits:
    """A page ends after so many rows of the version, or when so many bytes of dossiers were read; one row is always read."""

    rows_max: int
    bytes_max: int


class SurveyPages:
    """Pages of versions in a store.

    Raises, at every call:
        DamagedVersion, NoSuchVersion: the version or a shard of it is missing, pruned or altered; the message names it.
        Stop: the store is gone.
    """

    def __init__(self, versions: VersionStore, files: ShardFiles, surveys: SurveyFiles, limits: PageLimits) -> None:
        self._versions = versions
        self._files = files
        self._surveys = surveys
        self._limits = limits

    async def read(self, asked: SurveyRequested) -> SurveyPage:
        """The page that begins behind the sample asked for, in the order of the shards that the version was cut with.

        Samples may be forgotten while a survey runs: those that were not sent by then are left out, and no other row is sent
        twice or missed.
        """
        try:
            return await self._page(asked)
        except DamagedVersion:
            await self._versions.gaps.refresh()  # a sample in that shard may just have been forgotten
            return await self._page(asked)

    async def _page(self, asked: SurveyRequested) -> SurveyPage:
        survey = asked.survey
        shards = await self._versions.shards_as_cut(survey.dataset_id, survey.version, RowKind.ACCEPTED)
        if asked.shard >= len(shards):
            return SurveyPage((), None)
        found, after = await self._rows(shards[asked.shard].left, asked)
        rows = await with_base_losses(found, survey, self._surveys)
        if after is not None:
            return SurveyPage(rows, SurveyRequested(survey, asked.shard, after=after))
        is_last = asked.shard + 1 == len(shards)
        return SurveyPage(rows, None if is_last else SurveyRequested(survey, asked.shard + 1))

    async def _rows(self, shard: Shard | None, asked: SurveyRequested) -> tuple[tuple[SurveyedSample, ...], str | None]:
        """The page's rows of a shard, and the id of the last one that was looked at; None at the shard's end."""
        if shard is None:
            return (), None
        async with self._files.held(shard) as path:
            return await asyncio.to_thread(self._read, path, shard, asked)

    def _read(self, path: Path, shard: Shard, asked: SurveyRequested) -> tuple[tuple[SurveyedSample, ...], str | None]:
        found: list[SurveyedSample] = []
        after, size = "", 0
        for count, row in enumerate(_from(path, shard, asked)):
            dossier_bytes: bytes = row["dossier"]
            size += len(dossier_bytes)
            if count and (count >= self._limits.rows_max or size > self._limits.bytes_max):
                return tuple(found), after
            after = row["sample_id"]
            if is_surveyed(asked.survey, row["prompt_hash"]):
                found.append(_surveyed(asked.survey, dossier_in(dossier_bytes, shard)))
        return tuple(found), None


def _from(path: Path, shard: Shard, asked: SurveyRequested) -> Iterator[dict[str, Any]]:
    columns = ("sample_id", "prompt_hash", "dossier")
    if asked.row and not asked.after:
        return rows_from(path, shard.key, columns, asked.row)
    return rows_behind(path, shard.key, columns, asked.after)


def is_surveyed(survey: Survey, prompt_hash: str) -> bool:
    """Whether a row with this prompt is part of the survey: every row of a round's, the held-out ones of an evaluation's."""
    return survey.purpose is Purpose.ROUND or survey.holds_out(prompt_hash)


def _surveyed(survey: Survey, dossier: Dossier) -> SurveyedSample:
    known = next((signals for signals in dossier.signals if _still_holds(survey, signals)), None)
    return SurveyedSample(survey, dossier.sample, (known,) if known else ())


def _still_holds(survey: Survey, known: Signals) -> bool:
    """Whether this is the loss under the survey's base model, measured when the very same content was admitted.

    In whatever role: the base is mostly the version that measured the samples before anything was trained on them.
    """
    same = (known.model, known.model_version) == (survey.base_model, survey.base_model_version)
    return bool(survey.base_model) and same and not known.error and known.loss_mean is not None


def dossier_in(value: bytes, shard: Shard) -> Dossier:
    """A row's dossier. Raises DamagedVersion where it cannot be read."""
    try:
        return wire.decode(Dossier, value)
    except wire.Undecodable as error:
        raise DamagedVersion(f"{shard.key}: a row's dossier cannot be read: {error}") from error
