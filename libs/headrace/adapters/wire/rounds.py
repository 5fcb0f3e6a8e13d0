"""The wire form of what rounds say and ask: their messages mirror the core types."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from headrace.adapters.wire.fields import require, require_dataset_id, serialized
from headrace.adapters.wire.mirror import fill, mirrored_from
from headrace.core.rounds.facts import RoundProgressed
from headrace.core.rounds.state import RoundState, RoundTimer
from headrace.core.rounds.surveys import MeasuredSample, RefinementRequested, RoundStepRequested, SurveyedSample
from headrace_protos.round.v1 import round_pb2


def _by_round(kind: type, message: Any, _: bytes) -> object:
    require_dataset_id(message.dataset_id, "dataset_id")
    require(message.round_id, "round_id")
    return mirrored_from(kind, message)


def _of_survey(kind: type, message: Any, _: bytes) -> object:
    _require_survey(message.survey)
    return mirrored_from(kind, message)


def _step_from(kind: type, message: Any, _: bytes) -> object:
    if chosen := message.WhichOneof("step"):
        _require_survey(getattr(message, chosen).survey)
    return mirrored_from(kind, message)


def _require_survey(survey: round_pb2.Survey) -> None:
    require_dataset_id(survey.dataset_id, "survey.dataset_id")
    for name in ("round_id", "version", "model", "model_version"):
        require(getattr(survey, name), f"survey.{name}")


def _refinement_from(kind: type, message: Any, _: bytes) -> object:
    require_dataset_id(message.rewrite.parent.dataset_id, "rewrite.parent.dataset_id")
    require(message.rewrite.parent.id, "rewrite.parent.id")
    require(message.rewrite.round_id, "rewrite.round_id")
    return mirrored_from(kind, message)


def _encode(message_type: Any, value: object) -> bytes:
    message = message_type()
    fill(message, value)
    return serialized(message)


_READ: Mapping[type, Callable[[type, Any, bytes], object]] = {
    RoundProgressed: _by_round,
    RoundState: _by_round,
    RoundTimer: _by_round,
    RoundStepRequested: _step_from,
    SurveyedSample: _of_survey,
    MeasuredSample: _of_survey,
    RefinementRequested: _refinement_from,
}

FORMS: Mapping[type, tuple[Any, Callable[[Any, bytes], object], Callable[[Any], bytes]]] = MappingProxyType(
    {
        kind: (message_type := getattr(round_pb2, kind.__name__), partial(read, kind), partial(_encode, message_type))
        for kind, read in _READ.items()
    }
)
"""Message type, reader and writer of each body."""
