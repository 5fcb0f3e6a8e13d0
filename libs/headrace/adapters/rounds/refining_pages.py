"""From a round's selection to the rewrites it asks for: the samples, their numbers, their neighbours' prompts."""

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from headrace.adapters.rounds.closed_set import PromptVectors
from headrace.adapters.rounds.parquet_rows import rows_from, rows_of
from headrace.adapters.rounds.selection_scan import ADDS, SELECTION
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_files import LocalSurvey, SurveyFiles
from headrace.adapters.rounds.survey_pages import dossier_in
from headrace.adapters.versions.retracted_samples import retracted_samples
from headrace.adapters.versions.shards import parquet
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Rewrite
from headrace.core.retractions import is_retracted
from headrace.core.rounds.facts import Ending, RewriteEnded
from headrace.core.rounds.pages import RefiningPage
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.stored import selection_key, signals_key, thresholds_key
from headrace.core.rounds.surveys import RefiningRequested
from headrace.core.samples import Sample, last_assistant_index, prompt_hash_of
from headrace.core.versions import DamagedVersion, RowKind, Shard

RETRACTED = "retracted"
"""Why a rewrite ends before it began: the sample was taken back since the survey."""

_DECIDING = {Axis.HARD: "loss_post", Axis.SPARSE: "density", Axis.LOW_QUALITY: "quality"}
"""The column whose bound a rewrite has to come back within."""


@dataclass(frozen=True, slots=True)
class _Materials:
    """What the rewrites of one page are made of; samples and neighbours by sample id."""

    asked: RefiningRequested
    samples: Mapping[str, Sample]
    neighbours: Mapping[str, tuple[str, ...]]
    bounds: Mapping[Axis, float]
    ruler_hash: str
    prompts: PromptVectors
    hint_chars_max: int


class RefiningPages:
    """Pages of selections. Nobody is shown a held-out prompt: what is written beside one would be trained on.

    Raises, at every call, DamagedVersion or NoSuchVersion, naming the object, and Stop.
    """

    def __init__(self, versions: VersionStore, shards: ShardFiles, surveys: SurveyFiles, hint_chars_max: int) -> None:
        self._versions = versions
        self._shards = shards
        self._surveys = surveys
        self._hint_chars_max = hint_chars_max

    async def read(self, asked: RefiningRequested) -> RefiningPage:
        """The rewrites of the page; of samples that were retracted since the survey only that they end."""
        async with self._surveys.of(asked.survey) as local:
            selection = await local.required_file(selection_key(asked.survey))
            rows, complete = await asyncio.to_thread(_selected, selection, asked)
            retracted = await retracted_samples(local.objects, asked.survey.dataset_id)
            standing = [row for row in rows if not is_retracted(retracted, row["sample_id"], row["revision"])]
            materials = await self._materials(asked, standing, retracted, local)
        rewrites = tuple(
            _rewrite(row, materials) for row in standing if _is_same(materials.samples.get(row["sample_id"]), row["revision"])
        )
        made = {(each.axis, each.parent.id) for each in rewrites}
        ended = tuple(
            RewriteEnded(Axis(row["axis"]), row["sample_id"], Ending.NOT_MADE, RETRACTED, attempts=0, row=row["row"])
            for row in rows
            if (row["axis"], row["sample_id"]) not in made
        )
        return RefiningPage(rewrites, ended, complete=complete)

    async def _materials(
        self, asked: RefiningRequested, rows: list[dict[str, Any]], retracted: Mapping[str, int], local: LocalSurvey
    ) -> _Materials:
        sparse = {row["sample_id"] for row in rows if row["axis"] == Axis.SPARSE}
        neighbours: dict[str, tuple[str, ...]] = {}
        if sparse:
            table = await local.required_file(signals_key(asked.survey))
            neighbours = await asyncio.to_thread(_neighbours, table, signals_key(asked.survey), sparse)
        hinting = {each for ids in neighbours.values() for each in ids}
        samples = await self._samples(asked, {row["sample_id"] for row in rows} | hinting)
        for sample_id in [each.id for each in samples.values() if is_retracted(retracted, each.id, each.revision)]:
            del samples[sample_id]  # as a hint it would live on
        hinting -= {each.id for each in samples.values() if asked.survey.holds_out(prompt_hash_of(each))}
        neighbours = {of: tuple(each for each in ids if each in hinting) for of, ids in neighbours.items()}
        summary = await local.required_file(thresholds_key(asked.survey))
        bounds, ruler_hash = await asyncio.to_thread(_bounds, summary, asked)
        return _Materials(asked, samples, neighbours, bounds, ruler_hash, await local.prompts(0), self._hint_chars_max)

    async def _samples(self, asked: RefiningRequested, sample_ids: Collection[str]) -> dict[str, Sample]:
        """These samples as the version has them; those that are forgotten since are left out."""
        try:
            return await self._read(asked, sample_ids)
        except DamagedVersion:
            await self._versions.gaps.refresh()  # a sample in that shard may just have been forgotten
            return await self._read(asked, sample_ids)

    async def _read(self, asked: RefiningRequested, sample_ids: Collection[str]) -> dict[str, Sample]:
        manifest = await self._versions.manifest(asked.survey.dataset_id, asked.survey.version)
        found: dict[str, Sample] = {}
        for shard in manifest.shards_of(RowKind.ACCEPTED):
            wanted = [each for each in sample_ids if shard.may_hold(each) and each not in found]
            if not wanted:
                continue
            async with self._shards.held(shard) as path:
                found.update(await asyncio.to_thread(_samples_in, path, shard, wanted))
        return found


def _samples_in(path: Path, shard: Shard, sample_ids: Collection[str]) -> dict[str, Sample]:
    rows = rows_of(path, shard.key, ("sample_id", "dossier"), sample_ids)
    return {row["sample_id"]: dossier_in(row["dossier"], shard).sample for row in rows}


def _selected(path: Path, asked: RefiningRequested) -> tuple[list[dict[str, Any]], bool]:
    """The page's rows of the selection, each with its number there as `row`, and whether the selection ends with the page."""
    name = selection_key(asked.survey)
    with path.open("rb") as handle, parquet(handle, name) as file:
        total = int(file.metadata.num_rows)
        columns = file.schema_arrow.names
    if columns not in (SELECTION.names, [each for each in SELECTION.names if each != ADDS]):  # the latter by an earlier release
        raise DamagedVersion(f"{name}: its columns are not those of a selection")
    page = islice(rows_from(path, name, columns, asked.first_row), asked.rows)
    rows = [selected | {"row": at} for at, selected in enumerate(page, asked.first_row)]
    only = set(asked.only_rows)
    return [each for each in rows if not only or each["row"] in only], asked.first_row + len(rows) >= total


def _neighbours(path: Path, name: str, sample_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    rows = rows_of(path, name, ("sample_id", "neighbours"), sample_ids)
    return {row["sample_id"]: tuple(each["sample_id"] for each in row["neighbours"] or ()) for row in rows}


def _bounds(path: Path, asked: RefiningRequested) -> tuple[dict[Axis, float], str]:
    """For each axis the bound that its rows are on the wrong side of; and the ruler that quality was judged by."""
    try:
        summary = json.loads(path.read_bytes())
        axes = [each["threshold"] for each in summary["axes"]]
        bounds = {
            axis: float(bound["bound"])
            for threshold in axes
            for axis in [Axis(threshold["axis"])]
            for bound in threshold["bounds"]
            if bound["column"] == _DECIDING[axis] and bound["bound"] is not None
        }
        return bounds, str(summary.get("ruler_hash", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedVersion(f"{thresholds_key(asked.survey)}: no summary of a selection: {error!r}") from error


def _rewrite(row: Mapping[str, Any], materials: _Materials) -> Rewrite:
    asked, parent, axis = materials.asked, materials.samples[row["sample_id"]], Axis(row["axis"])
    hints = [materials.samples[each] for each in materials.neighbours.get(parent.id, ()) if each in materials.samples]
    if axis not in materials.bounds:
        raise DamagedVersion(f"{thresholds_key(asked.survey)}: no bound of axis {axis}, though rows were selected for it")
    return Rewrite(
        round_id=asked.survey.round_id,
        round_ordinal=asked.round_ordinal,
        axis=axis.value,
        attempt=1,
        attempts_max=asked.attempts_max,
        parent=parent,
        bound=materials.bounds[axis],
        model=asked.survey.model,
        model_version=asked.survey.model_version,
        parent_embedding=materials.prompts.vector_of(parent.id),
        parent_loss=row["loss_post"],
        parent_density=row["density"],
        parent_quality=row["quality"],
        ruler_hash=materials.ruler_hash,
        adds=row.get(ADDS, False),
        hints=tuple(_prompt_text(each)[: materials.hint_chars_max] for each in hints) if axis is Axis.SPARSE else (),
        tokens_allowed=asked.tokens_allowed_each,
        money_allowed=asked.money_allowed_each,
        roles_allowed=asked.roles_allowed_each,
        row=row["row"],
        gate=asked.gate,
    )


def _is_same(sample: Sample | None, revision: int) -> bool:
    return sample is not None and sample.revision == revision


def _prompt_text(sample: Sample) -> str:
    """What the user asks, turn by turn, without what the system was told."""
    turns = sample.messages[: last_assistant_index(sample)]
    return "\n\n".join(turn.content for turn in turns if turn.role == "user")
