"""Datasets' part in rounds: rows go out page by page, signals are staged, what was selected goes on, or is undone."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.core.events import Emit, Event, Reject, Result, Retry, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.retractions import RetractionReason, RetractionRequested
from headrace.core.rounds.facts import Fact, RewritesRequested, RoundProgressed, RowsEvicted, RowsMeasured, RowsReverted, RowsSent
from headrace.core.rounds.pages import RefiningPage, RevertPage, RowsMissing, SurveyPage, why_not_made
from headrace.core.rounds.revisions import NoRevisionLeft
from headrace.core.rounds.stored import BadRoundId, survey_prefix
from headrace.core.rounds.surveys import (
    EvictionRequested,
    MeasuredSample,
    RefinementRequested,
    RefiningRequested,
    RevertRequested,
    RoundStepRequested,
    Survey,
    SurveyRequested,
)
from headrace.core.rounds.thresholds import TooManyRows
from headrace.core.staged import Place, stream_of
from headrace.core.topics import (
    REFINEMENT_REQUESTED,
    RETRACTION_REQUESTED,
    ROUND_PROGRESSED,
    ROUND_STEP_REQUESTED,
    SUBMITTED,
    SURVEYED,
)
from headrace.core.version_names import NoSuchVersion
from headrace.core.versions import DamagedVersion


class SurveyReader(Protocol):
    """Pages of a version's accepted rows. Raises DamagedVersion or NoSuchVersion."""

    async def read(self, asked: SurveyRequested) -> SurveyPage: ...


class RefiningReader(Protocol):
    """Pages of a round's selection. Raises DamagedVersion, NoSuchVersion or RowsMissing."""

    async def read(self, asked: RefiningRequested) -> RefiningPage: ...


class EvictionReader(Protocol):
    """The samples, id and revision, that can be spared most. Raises DamagedVersion or TooManyRows."""

    async def read(self, asked: EvictionRequested) -> list[tuple[str, int]]: ...


class RevertingReader(Protocol):
    """Pages of what a round is to take back. Raises DamagedVersion, NoSuchVersion or NoRevisionLeft."""

    async def read(self, asked: RevertRequested) -> RevertPage: ...


class MeasuredStaging(Protocol):
    """Where measured rows lie until their table is made; writing them again changes nothing. Returns the bytes written."""

    async def stage(self, survey: Survey, stream: str, rows: Sequence[tuple[MeasuredSample, Place]]) -> int: ...


@dataclass(frozen=True, slots=True)
class Surveying:
    """What the handlers need.

    `staged` is told the bytes of each segment; `pace` waits, where batches of a topic come fast, so that they become larger.
    """

    pages: SurveyReader
    refining: RefiningReader
    evictions: EvictionReader
    reverting: RevertingReader
    measured: MeasuredStaging
    policy_of: Callable[[str], Policy | None]
    staged: Callable[[int], None]
    pace: Callable[[str], Awaitable[None]]


async def take_step(events: Sequence[Event[RoundStepRequested]], surveying: Surveying) -> list[Result]:
    """Do what a round asks of datasets, one page at a time: each page asks for the one after it. Other steps are not ours.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    return [await _step(event.body, surveying) for event in events]


async def stage_measured(events: Sequence[Event[MeasuredSample]], surveying: Surveying) -> list[Result]:
    """Stage each survey's rows, and tell its round how many they are: the counts become visible once, with the offsets.

    Rows that were sent back from the dead letters are told of one by one: the round may know them as lost.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    await surveying.pace(events[0].topic)
    results: list[Result] = [_refused(event.body, surveying) or Emit() for event in events]
    groups: defaultdict[tuple[Survey, str], list[int]] = defaultdict(list)
    for index, (event, result) in enumerate(zip(events, results, strict=True)):
        if isinstance(result, Emit):
            groups[event.body.survey, stream_of(event.position.topic, event.position.partition)].append(index)
    for (survey, stream), indices in groups.items():
        rows = [(events[i].body, Place(stream, events[i].position.offset, events[i].time)) for i in indices]
        surveying.staged(await surveying.measured.stage(survey, stream, rows))
        facts = _counted(survey, [events[i] for i in indices])
        results[indices[-1]] = Emit(tuple(_progress(survey, fact) for fact in facts))
    return results


async def _step(body: RoundStepRequested, surveying: Surveying) -> Result:
    step = body.step
    if not isinstance(step, SurveyRequested | RefiningRequested | EvictionRequested | RevertRequested):
        return Emit()
    if surveying.policy_of(body.dataset_id) is None:
        return no_policy(body.dataset_id)
    try:
        if isinstance(step, SurveyRequested):
            return _page_sent(step.survey, await surveying.pages.read(step))
        if isinstance(step, RefiningRequested):
            return _rewrites_sent(step.survey, await surveying.refining.read(step))
        if isinstance(step, RevertRequested):
            return _taken_back(step.survey, await surveying.reverting.read(step))
        return _evicted(step.survey, await surveying.evictions.read(step))
    except (DamagedVersion, NoSuchVersion, BadRoundId, TooManyRows, NoRevisionLeft) as error:
        return Reject(type(error).__name__, str(error))
    except RowsMissing as missing:
        return Retry("RowsMissing", str(missing))


def _page_sent(survey: Survey, page: SurveyPage) -> Emit:
    following = page.following
    sends = [Send(SURVEYED, row) for row in page.rows]
    sends.append(_progress(survey, RowsSent(survey.purpose, len(page.rows), complete=following is None)))
    if following is not None:
        sends.append(Send(ROUND_STEP_REQUESTED, RoundStepRequested(following)))
    return Emit(tuple(sends))


def _rewrites_sent(survey: Survey, page: RefiningPage) -> Emit:
    """All rewrites of the page count as requested, also those that end here."""
    asked = [Send(REFINEMENT_REQUESTED, RefinementRequested(rewrite)) for rewrite in page.rewrites]
    requested = RewritesRequested(len(page.rewrites) + len(page.ended), page.complete)
    ended = [_progress(survey, fact) for fact in page.ended]
    return Emit((*asked, _progress(survey, requested), *ended))


def _taken_back(survey: Survey, page: RevertPage) -> Emit:
    """Rows that come back go the way of all samples; their ends are told by admission."""
    following = page.following
    sends = [Send(SUBMITTED, row) for row in page.restored]
    sends += [Send(RETRACTION_REQUESTED, each) for each in page.leaving]
    sends.append(_progress(survey, RowsReverted(len(page.restored), len(page.leaving), complete=following is None)))
    if following is not None:
        sends.append(Send(ROUND_STEP_REQUESTED, RoundStepRequested(following)))
    return Emit(tuple(sends))


def _evicted(survey: Survey, samples: Sequence[tuple[str, int]]) -> Emit:
    by = f"round {survey.round_id}"
    asked = [
        RetractionRequested(
            survey.dataset_id, sample_id, revision, RetractionReason.REDUNDANT.value, f"{survey.round_id}/{sample_id}", by
        )
        for sample_id, revision in samples
    ]
    return Emit((*(Send(RETRACTION_REQUESTED, each) for each in asked), _progress(survey, RowsEvicted(len(asked)))))


def _progress(survey: Survey, fact: Fact) -> Send:
    return Send(ROUND_PROGRESSED, RoundProgressed(survey.dataset_id, survey.round_id, fact))


def _counted(survey: Survey, events: Sequence[Event[MeasuredSample]]) -> Iterator[RowsMeasured]:
    first_time = [event.body for event in events if not _was_sent_back(event)]
    if first_time:
        yield _sum(survey, first_time)
    for event in events:
        if _was_sent_back(event):
            yield _sum(survey, [event.body], f"{event.body.sample_id}/{event.body.revision}")


def _was_sent_back(event: Event[MeasuredSample]) -> bool:
    """Here, or on its way to scoring."""
    return event.sent_back or event.body.sent_back


def _sum(survey: Survey, rows: Sequence[MeasuredSample], sent_back: str = "") -> RowsMeasured:
    costs = [measured.cost for measured in rows if measured.cost]
    return RowsMeasured(
        survey.purpose,
        len(rows),
        not_made=sum(why_not_made(measured) is not None for measured in rows),
        tokens=sum((cost.prompt_tokens or 0) + (cost.completion_tokens or 0) for cost in costs),
        seconds=sum(cost.seconds or 0.0 for cost in costs),
        sent_back=sent_back,
    )


def _refused(measured: MeasuredSample, surveying: Surveying) -> Result | None:
    if surveying.policy_of(measured.dataset_id) is None:
        return no_policy(measured.dataset_id)
    try:
        survey_prefix(measured.survey)
    except BadRoundId as error:
        return Reject("BadRoundId", str(error))
    return None
