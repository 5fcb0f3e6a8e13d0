"""What the dead letters say to rounds: a row that will never be measured, a rewrite that will never end, a step that failed."""

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord

from headrace.adapters.claim_check import LargeBodies
from headrace.adapters.kafka.streams import START_S, RecordReader
from headrace.adapters.wire import events as wire
from headrace.adapters.wire.envelope import ERROR, event_of, is_letter, texts_of
from headrace.core.dossiers import DatasetCutRequested, Dossier, Rewrite, ScoredSample
from headrace.core.events import Position
from headrace.core.rounds.facts import Action, Fact, RoundAsked, RoundProgressed, RowLost
from headrace.core.rounds.moves import cut_asked_for
from headrace.core.rounds.restorations import is_restored
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.surveys import MeasuredSample, RefinementRequested, RoundStepRequested, Survey, SurveyedSample
from headrace.core.topics import CONSUMERS, CUT_REQUESTED, DECIDED, MEASURED, TOPICS, Topic, dlq_topic_name

_log = logging.getLogger("headrace.rounds")

_BODIES = frozenset({
    Dossier, ScoredSample, SurveyedSample, MeasuredSample, RefinementRequested, RoundStepRequested, RoundProgressed,
    DatasetCutRequested,
})  # fmt: skip
_HARMLESS = frozenset({(MEASURED.name, "diversity")})
"""Its part in a survey is to know the rows in the index, which no round waits for."""

SOURCES: dict[str, tuple[Topic, str]] = {
    dlq_topic_name(topic.name, group): (topic, group)
    for topic in TOPICS
    for group in CONSUMERS.get(topic.name, ())
    if topic.body in _BODIES and topic != DECIDED and (topic.name, group) not in _HARMLESS
}
"""Dead-letter topics that rounds depend on, with the topic and the service that they belong to."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What one dead letter says to a round; `id` names it: the same whenever it is read."""

    id: str
    progressed: RoundProgressed


async def dead_letters(bootstrap: str, large_bodies: LargeBodies, *, start_s: float = START_S) -> AsyncGenerator[Letter, None]:
    """All dead letters that say something to a round, from the beginning and then as they come.

    Raises:
        BrokerUnreachable: the broker does not answer in time, or lacks a topic.
        Stop: a body lies in the object store, which is gone.
    """
    async with RecordReader.opened(bootstrap, list(SOURCES), start_s=start_s, large_bodies=large_bodies) as reader:
        async for record in reader:
            letter = letter_in(record)
            if letter is not None:
                yield letter


def letter_in(record: ConsumerRecord) -> Letter | None:
    """What the record of a dead-letter topic says to a round; None where it says nothing, or cannot be read."""
    topic, group = SOURCES[record.topic]
    headers = texts_of(record.headers)
    if not is_letter(headers):
        return None
    position = Position(record.topic, record.partition, record.offset)
    name = f"{record.topic}/{record.partition}@{record.offset}"
    try:
        body = event_of(topic, position, record.key, record.value, record.timestamp, headers).body
    except wire.Undecodable as error:
        if topic.name != CUT_REQUESTED.name:
            _log.warning("%s cannot be read; a round may wait for what it holds until its deadline: %s", name, error)
        return None
    progressed = said_by(body, group, headers.get(ERROR, ""), name)
    return None if progressed is None else Letter(name, progressed)


def said_by(body: Any, service: str, error: str, letter_id: str) -> RoundProgressed | None:
    """What a body among a service's dead letters says to the round that it belongs to; None where it belongs to none."""
    match body:
        case SurveyedSample():
            fact = RowLost(body.survey.purpose, body.sample.id, body.sample.revision, service, error)
            return _of_survey(body.survey, fact)
        case MeasuredSample():
            return _of_survey(body.survey, RowLost(body.survey.purpose, body.sample_id, body.revision, service, error))
        case RoundStepRequested():
            return _of_survey(body.step.survey, _freeze(f"{service}: {error}", letter_id))
        case DatasetCutRequested() if (asked := cut_asked_for(body.request_id)) is not None:
            return RoundProgressed(body.dataset_id, asked[0], _freeze(f"{service}: {error}", letter_id))
        case RoundProgressed():
            return RoundProgressed(body.dataset_id, body.round_id, _freeze(f"{service}: {error}", letter_id))
        case RefinementRequested():
            return _of_rewrite(body.rewrite, service, error)
        case Dossier():
            return _of_dossier(body, service, error)
        case ScoredSample():
            return _of_dossier(body.dossier, service, error)
    return None


def _freeze(why: str, letter_id: str) -> RoundAsked:
    return RoundAsked(Action.FREEZE, f"{why}; `headrace dlq redrive` sends it back, then resume", "dead letters", letter_id)


def _of_survey(survey: Survey, fact: Fact) -> RoundProgressed:
    return RoundProgressed(survey.dataset_id, survey.round_id, fact)


def _of_dossier(dossier: Dossier, service: str, error: str) -> RoundProgressed | None:
    """A rewrite, or a row that was to come back; other samples are of no round."""
    sample = dossier.sample
    if dossier.rewrite is not None:
        return _of_rewrite(dossier.rewrite, service, error)
    if not is_restored(sample):
        return None
    fact = RowLost(None, sample.id, sample.revision, service, error)
    return RoundProgressed(sample.dataset_id, sample.origin.restored_by, fact)


def _of_rewrite(rewrite: Rewrite, service: str, error: str) -> RoundProgressed | None:
    if rewrite.axis not in set(Axis):
        return None
    fact = RowLost(None, rewrite.parent.id, rewrite.parent.revision, service, error, Axis(rewrite.axis))
    return RoundProgressed(rewrite.parent.dataset_id, rewrite.round_id, fact)
