"""Reading a version's accepted rows page by page, from any row on: what a survey sends out."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from headrace.adapters.rounds.parquet_rows import rows_from
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire import events as wire
from headrace.core.dossiers import BASE, Dossier, Signals
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

    def __init__(self, versions: VersionStore, files: ShardFiles, limits: PageLimits) -> None:
        self._versions = versions
        self._files = files
        self._limits = limits

    async def read(self, asked: SurveyRequested) -> SurveyPage:
        """The page that begins at the row asked for, in the manifest's order of shards."""
        survey = asked.survey
        manifest = await self._versions.manifest(survey.dataset_id, survey.version)
        shards = manifest.shards_of(RowKind.ACCEPTED)
        if asked.shard >= len(shards):
            return SurveyPage((), None)
        shard = shards[asked.shard]
        async with self._files.held(shard) as path:
            rows, end = await asyncio.to_thread(self._read, path, shard, asked)
        if end < shard.rows:
            return SurveyPage(rows, SurveyRequested(survey, asked.shard, end))
        is_last = asked.shard + 1 == len(shards)
        return SurveyPage(rows, None if is_last else SurveyRequested(survey, asked.shard + 1))

    def _read(self, path: Path, shard: Shard, asked: SurveyRequested) -> tuple[tuple[SurveyedSample, ...], int]:
        found: list[SurveyedSample] = []
        end, size = asked.row, 0
        for row in rows_from(path, shard.key, ("prompt_hash", "dossier"), asked.row):
            dossier_bytes: bytes = row["dossier"]
            size += len(dossier_bytes)
            if end > asked.row and size > self._limits.bytes_max:
                break
            end += 1
            if is_surveyed(asked.survey, row["prompt_hash"]):
                found.append(_surveyed(asked.survey, dossier_in(dossier_bytes, shard)))
            if end - asked.row >= self._limits.rows_max:
                break
        return tuple(found), end


def is_surveyed(survey: Survey, prompt_hash: str) -> bool:
    """Whether a row with this prompt is part of the survey: every row of a round's, the held-out ones of an evaluation's."""
    return survey.purpose is Purpose.ROUND or survey.holds_out(prompt_hash)


def _surveyed(survey: Survey, dossier: Dossier) -> SurveyedSample:
    base = dossier.signals_of(BASE)
    return SurveyedSample(survey, dossier.sample, (base,) if base and _still_holds(survey, base) else ())


def _still_holds(survey: Survey, base: Signals) -> bool:
    """Whether the loss under the base model, measured when the very same content was admitted, is that of the survey's."""
    same = (base.model, base.model_version) == (survey.base_model, survey.base_model_version)
    return bool(survey.base_model) and same and not base.error and base.loss_mean is not None


def dossier_in(value: bytes, shard: Shard) -> Dossier:
    """A row's dossier. Raises DamagedVersion where it cannot be read."""
    try:
        return wire.decode(Dossier, value)
    except wire.Undecodable as error:
        raise DamagedVersion(f"{shard.key}: a row's dossier cannot be read: {error}") from error
