"""Measures the rows of a survey with the very versions that it names, and has the model judge them where it asks for that."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from headrace.core.dossiers import BASE, Signals
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send
from headrace.core.ports.signal_model import Asks, ModelMissing
from headrace.core.rounds.merge_keys import merge_key_of_sample
from headrace.core.rounds.surveys import MeasuredSample, SurveyedSample
from headrace.core.samples import prompt_hash_of
from headrace.core.topics import MEASURED
from services.scoring.handlers import Scoring
from services.scoring.sheets import Sheet, measure_base, measure_current


async def survey(events: Sequence[Event[SurveyedSample]], scoring: Scoring) -> list[Result]:
    """One MEASURED event for each row; a row whose signals could not be made carries the reason in them.

    The base model's signals are taken from what is known of the row, or from the current model where the two are one, and only
    measured where they are not there: the same content under the same version has the same loss.

    Raises:
        Stop: the model server is gone, or stays too busy.
    """
    sheets = [Sheet(event.body.sample) for event in events]
    rows = [(event.body, sheet) for event, sheet in zip(events, sheets, strict=True)]
    for row, sheet in rows:
        if not (row.survey.model and row.survey.model_version) or (row.survey.base_model and not row.survey.base_model_version):
            sheet.ended = Reject("not_pinned", f"the survey of round {row.survey.round_id} does not name a version of each model")
    await _measure_current([(row, sheet) for row, sheet in rows if sheet.ended is None], scoring)
    await _measure_base([(row, sheet) for row, sheet in rows if sheet.is_measured and row.survey.base_model], scoring)
    return [_result(event, sheet) for event, sheet in zip(events, sheets, strict=True)]


async def _measure_current(rows: Sequence[tuple[SurveyedSample, Sheet]], scoring: Scoring) -> None:
    groups: defaultdict[tuple[str, str, Asks], list[Sheet]] = defaultdict(list)
    for row, sheet in rows:
        survey = row.survey
        groups[survey.model, survey.model_version, Asks(survey.judge, survey.plain_prompts)].append(sheet)
    for (name, version, asks), sheets in groups.items():
        try:
            await measure_current(scoring.models.at(name, version), sheets, scoring.clock, asks)
        except ModelMissing as missing:
            _end(sheets, name, version, missing)


async def _measure_base(rows: Sequence[tuple[SurveyedSample, Sheet]], scoring: Scoring) -> None:
    groups: defaultdict[tuple[str, str], list[Sheet]] = defaultdict(list)
    for row, sheet in rows:
        sheet.base = _known(row, sheet)
        if sheet.base is None:
            groups[row.survey.base_model, row.survey.base_model_version].append(sheet)
    for (name, version), sheets in groups.items():
        try:
            await measure_base(scoring.models.at(name, version), sheets, scoring.clock)
        except ModelMissing as missing:
            _end(sheets, name, version, missing)


def _end(sheets: Sequence[Sheet], name: str, version: str, missing: ModelMissing) -> None:
    for sheet in sheets:
        sheet.ended = Retry("model_missing", f"the survey measures with model {name} version {version}: {missing}")


def _known(row: SurveyedSample, sheet: Sheet) -> Signals | None:
    """What was said of this content by the base model's very version, in whatever role."""
    current = (sheet.current.signals,) if sheet.current else ()
    wanted = (row.survey.base_model, row.survey.base_model_version)
    found = (each for each in (*row.known, *current) if (each.model, each.model_version) == wanted and each.loss_mean is not None)
    signals = next(found, None)
    return signals and replace(signals, role=BASE, judgement=None)


def _result(event: Event[SurveyedSample], sheet: Sheet) -> Result:
    if sheet.ended is not None:
        return sheet.ended
    sample = event.body.sample
    measured = MeasuredSample(
        event.body.survey,
        sample.id,
        sample.revision,
        sample.content_hash,
        prompt_hash_of(sample),
        sample.origin.kind.value,
        merge_key_of_sample(sample),
        sheet.signals,
        sheet.current.embeddings if sheet.current else None,
        sheet.cost,
        event.sent_back,
        sheet.current.plain_prompt if sheet.current else b"",
    )
    return Emit((Send(MEASURED, measured),))
