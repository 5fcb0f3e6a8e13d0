"""Writing a round's report into the object store, from what lies there."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from headrace.adapters.rounds.report.limits import ReportLimits
from headrace.adapters.rounds.report.map_reading import embedding_map
from headrace.adapters.rounds.report.page import render
from headrace.adapters.rounds.report.rewrite_sources import committed_rewrites, loose_rewrites, version_numbers
from headrace.adapters.rounds.report.table_reading import RowsDrawn, SignalTableReading
from headrace.adapters.rounds.signal_table import SignalFile
from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.store import VersionStore
from headrace.core.ports.object_store import ObjectMissing, ObjectStore, ObjectTooLarge
from headrace.core.rounds.report.composing import report_of, summary_from
from headrace.core.rounds.report.contents import RewriteNumbers, RewriteSeen, TableNumbers
from headrace.core.rounds.rules import Mode
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.stored import report_key, round_prefix, selection_key, signals_key, thresholds_key
from headrace.core.rounds.surveys import Purpose, Survey
from headrace.core.rounds.tally import SelectionSummary
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import DamagedVersion, Manifest, manifest_key

_DEFAULT = ReportLimits()


async def store_report(
    objects: ObjectStore,
    state: RoundState,
    known: Iterable[RoundState] = (),
    *,
    folder: Path | None = None,
    limits: ReportLimits = _DEFAULT,
) -> str:
    """Write the report of a round as it stands, and return its key; one that is there is replaced.

    But one whose tables were collected since stays as it is: nobody could write it again.
    It takes any state of a round: what the round has not come to is told as missing. `known` are other states at hand, as
    `report_of` wants them. Tables lie on local disk under `folder` meanwhile.

    Raises:
        DamagedVersion: an object that is there cannot be read; the message names it.
        Stop: the store is gone.
        ValueError: the dataset's or the round's id is no plain name.
    """
    key, survey = report_key(round_prefix(state.dataset_id, state.round_id)), _survey(state)
    versions = VersionStore(objects, folder)
    with scratch_folder("report", folder) as scratch:
        summary = await _summary(objects, survey, limits)
        table, drawn = await _table(objects, survey, summary, scratch, limits)
        if table is None and state.selected is not None and await objects.stat(key) is not None:
            return key
        manifest = await _manifest(versions, state)
        rewrites = await _rewrites(versions, state, manifest, limits)
        version = await version_numbers(objects, manifest) if manifest else None
        shown = None
        if table is not None and drawn is not None:
            accepted = _accepted(rewrites) if manifest else []
            shown = await embedding_map(objects, survey, drawn, table.rows, accepted, manifest, limits)
        data = report_of(state, known, selection=summary, table=table, embedding_map=shown, rewrites=rewrites, version=version)
        page = await asyncio.to_thread(render, data)
    await objects.put(key, page.encode("utf-8"))
    return key


def _survey(state: RoundState) -> Survey:
    return replace(state.begun.survey, purpose=Purpose.ROUND)


async def _summary(objects: ObjectStore, survey: Survey, limits: ReportLimits) -> SelectionSummary | None:
    key = thresholds_key(survey)
    try:
        stored = await objects.get(key, bytes_max=limits.summary_bytes_max)
    except ObjectMissing:
        return None
    except ObjectTooLarge as error:
        raise DamagedVersion(str(error)) from error
    return summary_from(stored.body)


async def _table(
    objects: ObjectStore, survey: Survey, summary: SelectionSummary | None, folder: Path, limits: ReportLimits
) -> tuple[TableNumbers | None, RowsDrawn | None]:
    table = await _fetched(objects, signals_key(survey), folder / "signals.parquet", limits)
    if table is None:
        return None, None
    selection = await _fetched(objects, selection_key(survey), folder / "selection.parquet", limits)
    mode = summary.rules.mode if summary else Mode.HEADRACE

    def read() -> tuple[TableNumbers, RowsDrawn]:
        return SignalTableReading(table, selection, mode, limits).numbers(_marks(summary))

    return await asyncio.to_thread(read)


async def _fetched(objects: ObjectStore, key: str, path: Path, limits: ReportLimits) -> SignalFile | None:
    try:
        await objects.fetch(key, path, bytes_max=limits.file_bytes_max)
    except ObjectMissing:
        return None
    except ObjectTooLarge as error:
        raise DamagedVersion(str(error)) from error
    return SignalFile(path, key)


def _marks(summary: SelectionSummary | None) -> Mapping[str, Sequence[float]]:
    bounds = [bound for axis in summary.axes for bound in axis.threshold.bounds] if summary else []
    return {each.column: [each.bound] for each in bounds if each.bound is not None}


async def _manifest(versions: VersionStore, state: RoundState) -> Manifest | None:
    """The new version's; None where there is none, or it is no longer kept."""
    committed = state.committed
    if committed is None:
        return None
    key = manifest_key(state.dataset_id, committed.version_sequence, committed.version)
    try:
        return await versions.manifest_at(key, committed.version)
    except NoSuchVersion:
        return None


async def _rewrites(
    versions: VersionStore, state: RoundState, manifest: Manifest | None, limits: ReportLimits
) -> RewriteNumbers | None:
    """Those of the round's version; where it has none, those that were decided all the same. None where they cannot be told."""
    if manifest is not None:
        return await committed_rewrites(versions.objects, manifest, state.round_id, limits)
    if state.committed is None and state.rewrites.requested:
        return await loose_rewrites(versions, state, limits)
    return None


def _accepted(rewrites: RewriteNumbers | None) -> list[RewriteSeen]:
    return [each for each in rewrites.seen if each.accepted] if rewrites else []
