"""What an earlier round's table still says of rows under the base model: rows that stayed as they were are not measured again."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headrace.adapters.rounds.parquet_rows import rows_of
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.core.dossiers import BASE, Signals
from headrace.core.rounds.stored import signals_key
from headrace.core.rounds.surveys import Survey, SurveyedSample
from headrace.core.versions import DamagedVersion

_log = logging.getLogger("headrace.rounds")
_COLUMNS = ("sample_id", "content_hash", "loss_pre")


async def with_base_losses(rows: Sequence[SurveyedSample], survey: Survey, surveys: SurveyFiles) -> tuple[SurveyedSample, ...]:
    """The page's rows, with the base's losses of the same contents from the table of the round that the survey names.

    Only row groups of the table that may hold one of them are read. Where the table was collected, or cannot be read, rows are
    as they were: the base measures them.

    Raises:
        Stop: the store is gone.
    """
    wanted = {row.sample.id: row.sample.content_hash for row in rows if not row.known}
    if not survey.base_from or not wanted:
        return tuple(rows)
    earlier = replace(survey, round_id=survey.base_from)
    key = signals_key(earlier)
    try:
        async with surveys.of(earlier) as local:
            path = await local.file(key)
            found = await asyncio.to_thread(_losses, path, key, wanted) if path is not None else {}
    except DamagedVersion as damaged:
        _log.warning("the base measures rows that an earlier round had measured: %s", damaged)
        return tuple(rows)
    return tuple(replace(row, known=(_signals(survey, found[row.sample.id]),)) if row.sample.id in found else row for row in rows)


def _losses(path: Path, key: str, wanted: dict[str, str]) -> dict[str, float]:
    """By sample id, of those whose content is still the same and whose loss was made."""
    return {
        row["sample_id"]: row["loss_pre"]
        for row in rows_of(path, key, _COLUMNS, wanted)
        if row["loss_pre"] is not None and row["content_hash"] == wanted[row["sample_id"]]
    }


def _signals(survey: Survey, loss: float) -> Signals:
    return Signals(BASE, survey.base_model, survey.base_model_version, loss, None, 0, 0)
