"""Versions to survey and rows as they were measured, for tests of rounds."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.versions.cut import VersionCutter
from headrace.adapters.versions.draft import CutSettings
from headrace.core.dossiers import BASE, CURRENT, Cost, Dossier, Embeddings, Judgement, Signals
from headrace.core.ports.object_store import ObjectStore
from headrace.core.rounds.facts import DensitiesMade
from headrace.core.rounds.surveys import DensityRequested, Judge, MeasuredSample, Purpose, Survey
from headrace.core.samples import Sample, prompt_hash_of
from headrace.core.staged import Place
from headrace.core.versions import Version
from tests.fakes.certain import certain
from tests.fakes.decisions import DATASET, DECIDED, dossier, place

MEASURED = "measured/00001"
DIMENSIONS = 8


class NoDensities:
    """For where no round asks for densities."""

    async def make(self, _: DensityRequested) -> DensitiesMade:
        raise AssertionError("nobody asked for densities")


def survey(version: str = "v", *, purpose: Purpose = Purpose.ROUND, **more) -> Survey:
    return Survey(
        DATASET, "r1", purpose, version, "smol", "4",
        base_model="smol-base", base_model_version="1", judge=Judge.LOGITS, held_out_share=0.3, held_out_seed="seed", **more,
    )  # fmt: skip


def with_base(found: Dossier, loss: float, version: str = "1") -> Dossier:
    return replace(found, signals=(*found.signals, Signals(BASE, "smol-base", version, loss, 0.1, 12, 3)))


def survey_files(objects: ObjectStore, folder: Path) -> SurveyFiles:
    """Surveys' files in a folder of their own."""

    async def opened() -> ObjectStore:
        return objects

    surveys = folder / "surveys"
    surveys.mkdir(parents=True, exist_ok=True)
    return SurveyFiles(opened, surveys)


async def cut_version(objects: ObjectStore, samples: list[Dossier], settings: CutSettings | None = None) -> Version:
    """A version of these decisions, in as many cuts as there are calls."""
    cutter = VersionCutter(objects, settings or CutSettings(embeddings_wait_s=0))
    first = (await cutter.waiting(DATASET)).inputs.get(DECIDED, -1) + 1
    rows = [(each, place(first + n)) for n, each in enumerate(samples)]
    if rows:
        await cutter.staging.stage_decided(DATASET, DECIDED, rows)
    return certain(await cutter.cut(DATASET, f"cut-{first}")).version


def accepted(*ids: str) -> list[Dossier]:
    return [dossier(sample_id) for sample_id in ids]


def vector_of(sample_id: str) -> np.ndarray:
    """A unit vector that follows from the id."""
    seed = int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    unit: np.ndarray = (vector / np.linalg.norm(vector)).astype("<f4")
    return unit


def measured(
    of: Sample, in_survey: Survey, *, loss: float = 1.5, error: str = "", vector: np.ndarray | None = None
) -> MeasuredSample:
    """The row as scoring sends it."""
    judgement = Judgement("logits", "ruler", 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    made = Signals(CURRENT, "smol", "4", None if error else loss, None if error else 0.5, 12, 3, error=error)
    unit = (vector_of(of.id) if vector is None else vector).astype("<f4").tobytes()
    return MeasuredSample(
        in_survey, of.id, of.revision, of.content_hash, prompt_hash_of(of), of.origin.kind.value, f"{of.id}-key",
        (replace(made, judgement=None if error else judgement), Signals(BASE, "smol-base", "1", 2.5, 0.5, 12, 3)),
        None if error else Embeddings("smol", "4", unit, unit),
        Cost("scoring", seconds=0.5, prompt_tokens=15, completion_tokens=0),
    )  # fmt: skip


def placed(rows: list[MeasuredSample], first: int = 0, stream: str = MEASURED) -> list[tuple[MeasuredSample, Place]]:
    return [(row, place(first + n, stream)) for n, row in enumerate(rows)]
