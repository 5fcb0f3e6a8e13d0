"""Whether a calibration is due: the staged rows behind the latest version, by who measured them."""

import asyncio
from collections.abc import Sequence
from functools import partial

from headrace.adapters.rounds.calibration_rows import columns_counted, runs_of
from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.core.rounds.calibration_due import Run, rows_due, rows_wanted_at_least
from headrace.core.rounds.standing import StandingPolicy
from headrace.core.staged import Slice, rows_at_most

_Known = dict[tuple[Slice, bool], tuple[Run, ...]]


class CalibrationsDue:
    """Looks at the staged rows of datasets.

    Segments are immutable: what was read of one is remembered as long as it is staged and rows are looked for, a few numbers a
    segment, so each is read once and not with every batch behind it.
    """

    def __init__(self, versions: VersionStore, staging: StagingArea) -> None:
        self._versions = versions
        self._staging = staging
        self._known: dict[str, _Known] = {}

    async def rows_due(self, dataset_id: str, standing: StandingPolicy) -> int | None:
        """How many staged decisions, from the first one on, make a version that can be calibrated; None where they are too few.

        Raises:
            DamagedVersion: a segment or the latest manifest is missing or cannot be read.
            Stop: the store is gone.
        """
        latest = await self._versions.latest(dataset_id)
        models, inputs = (latest.manifest.models, latest.manifest.inputs) if latest else ({}, {})
        parts = (await self._staging.since(dataset_id, inputs)).slices(decided=True)
        if not standing.rows or rows_at_most(parts) < rows_wanted_at_least(standing, models):
            self._known.pop(dataset_id, None)
            return None
        runs = await self._runs(dataset_id, parts, judged=standing.judges)
        return rows_due(runs, standing, models)

    async def _runs(self, dataset_id: str, parts: Sequence[Slice], *, judged: bool) -> list[Run]:
        before, now = self._known.get(dataset_id, {}), _Known()
        for part in parts:
            known = before.get((part, judged))
            now[part, judged] = known if known is not None else await self._read(dataset_id, part, judged=judged)
        self._known[dataset_id] = now
        return [run for runs in now.values() for run in runs]

    async def _read(self, dataset_id: str, part: Slice, *, judged: bool) -> tuple[Run, ...]:
        rows = await self._staging.read(dataset_id, part, ("offset", *columns_counted(judged=judged)))
        return await asyncio.to_thread(partial(runs_of, rows, judged=judged))
