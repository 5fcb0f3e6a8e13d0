"""Keeps the thresholds that stand between rounds: from calibrations and from rounds, published as policies."""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from headrace.adapters.rounds.calibration import CalibrationTooLong
from headrace.core.dossiers import DatasetCommitted, PolicyPublished
from headrace.core.events import Emit, Event, Result, Send
from headrace.core.policies import Policy
from headrace.core.rounds.calibrating import of_round
from headrace.core.rounds.facts import RoundProgressed, RowsSelected
from headrace.core.rounds.standing import StandingThresholds
from headrace.core.rounds.surveys import Purpose, RoundStepRequested
from headrace.core.topics import POLICY_PUBLISHED
from headrace.core.versions import DamagedVersion
from services.controller.rounds import Rounds, take_step, take_versions

_log = logging.getLogger("headrace.controller")

READS_MAX = 3
"""How often thresholds are computed anew because somebody published another policy meanwhile; then the next occasion does it."""

Compute = Callable[[Policy], Awaitable[StandingThresholds | None]]
"""The thresholds under a policy's rules, None where there are none or it has them.

Raises CalibrationTooLong and DamagedVersion where they cannot be made, and Stop.
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the handlers need.

    `policy_of` is the policy as it was followed, `policy_now` reads it anew. `announced` tells the version of a model that
    measures, None where none was ever announced. `calibrate` makes thresholds from a dataset version
    (`headrace.adapters.rounds.calibration`).
    """

    policy_of: Callable[[str], Policy | None]
    policy_now: Callable[[str], Awaitable[Policy | None]]
    announced: Callable[[str], str | None]
    calibrate: Callable[[DatasetCommitted, Policy, Callable[[str], str | None]], Awaitable[StandingThresholds | None]]


async def take_committed(events: Sequence[Event[DatasetCommitted]], standing: Standing) -> list[Result]:
    """What a new version says to a round, and the thresholds that its rows give where the model that measures has none yet.

    Raises:
        Stop: the object store or the broker does not answer.
    """
    results = await take_versions(events)
    return [await _with_calibration(event, result, standing) for event, result in zip(events, results, strict=True)]


async def take_selections(events: Sequence[Event[RoundStepRequested]], rounds: Rounds, standing: Standing) -> list[Result]:
    """Selection steps as `take_step` does them; the thresholds of a round stand from then on.

    Raises:
        Stop: the object store or the broker does not answer, or the store refuses.
    """
    results = await take_step(events, rounds)
    return [await _with_thresholds(event, result, standing) for event, result in zip(events, results, strict=True)]


async def _with_calibration(event: Event[DatasetCommitted], result: Result, standing: Standing) -> Result:
    async def compute(policy: Policy) -> StandingThresholds | None:
        return await standing.calibrate(event.body, policy, standing.announced)

    return await _with_policy(event.body.dataset_id, event.time, result, compute, standing)


async def _with_thresholds(event: Event[RoundStepRequested], result: Result, standing: Standing) -> Result:
    for send in result.sends if isinstance(result, Emit) else ():
        if isinstance(send.body, RoundProgressed) and isinstance(send.body.fact, RowsSelected):
            compute = partial(_computed, asked=event.body, selected=send.body.fact, announced=standing.announced)
            result = await _with_policy(event.body.dataset_id, event.time, result, compute, standing)
    return result


async def _computed(
    policy: Policy, asked: RoundStepRequested, selected: RowsSelected, announced: Callable[[str], str | None]
) -> StandingThresholds | None:
    """A round that judges by a version which no longer measures has nothing to say to new samples."""
    survey = asked.step.survey
    if selected.purpose is not Purpose.ROUND or announced(survey.model) not in {None, survey.model_version}:
        return None
    thresholds = of_round(policy.standing, survey, json.loads(selected.thresholds_json))
    return thresholds if thresholds != policy.standing.thresholds else None


async def _with_policy(dataset_id: str, at: float, result: Result, compute: Compute, standing: Standing) -> Result:
    """The result, and with it the dataset's policy with other thresholds, where there are any.

    The policy published is the one that stands when the thresholds are there, not the one that stood before: bounds that
    somebody published meanwhile are kept, and where the rules of the thresholds changed, these are computed anew.
    """
    policy = standing.policy_of(dataset_id)
    for _ in range(READS_MAX):
        if policy is None or not policy.standing.rows or not isinstance(result, Emit):
            return result
        try:
            thresholds = await compute(policy)
        except (CalibrationTooLong, DamagedVersion) as error:  # what the event says to rounds is not held up by it
            _log.error("dataset %s is not calibrated: %s", dataset_id, error)
            return result
        if thresholds is None:
            return result
        before, policy = policy, await standing.policy_now(dataset_id)
        if policy is not None and (policy.standing, policy.rounds) == (before.standing, before.rounds):
            return Emit((*result.sends, _published(dataset_id, policy.with_thresholds(thresholds), at)))
    _log.warning("dataset %s has no new thresholds yet: its policy keeps changing", dataset_id)
    return result


def _published(dataset_id: str, policy: Policy, at: float) -> Send:
    """At the time of the event that it follows from: the same event makes the same policy."""
    thresholds = policy.standing.thresholds
    _log.info("dataset %s: policy %s has standing thresholds %s", dataset_id, policy.version, thresholds)
    return Send(POLICY_PUBLISHED, PolicyPublished(dataset_id, policy.version, policy.canonical_json(), at))
