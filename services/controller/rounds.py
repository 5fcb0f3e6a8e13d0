"""Takes rounds from state to state: facts, timers, and what versions and checkpoints say to them."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.core.checkpoints import CheckpointPublished, CheckpointRefused, CheckpointRolledOut
from headrace.core.dossiers import DatasetCommitted
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send
from headrace.core.policies import Policy
from headrace.core.roll_out import is_of_rollback
from headrace.core.rounds.binding import holds_out_too_little, whole_version_of
from headrace.core.rounds.facts import (
    CheckpointMeasures,
    DeadlinePassed,
    RoundCommitted,
    RoundProgressed,
    RoundStarted,
    RowsSelected,
)
from headrace.core.rounds.machine import advance
from headrace.core.rounds.moves import LIMITS, Limits, cut_asked_for, timer
from headrace.core.rounds.pages import RowsMissing
from headrace.core.rounds.planning import following, lacks_base, round_id_at
from headrace.core.rounds.state import Phase, RoundState, RoundTimer
from headrace.core.rounds.surveys import RoundStepRequested, SelectionRequested
from headrace.core.rounds.thresholds import TooManyRows
from headrace.core.topics import ROUND_PROGRESSED, ROUND_STATE
from headrace.core.versions import DamagedVersion

_log = logging.getLogger("headrace.controller")


class States(Protocol):
    """Rounds as they stand; `headrace.adapters.rounds.round_states` says more. Reading raises Stop."""

    async def refresh(self, *, expecting: Iterable[str] = (), within_s: float = 0.0) -> None: ...

    def state_of(self, dataset_id: str, round_id: str) -> RoundState | None: ...

    def of_dataset(self, dataset_id: str) -> list[RoundState]: ...


class Selections(Protocol):
    """Selection steps; `headrace.adapters.rounds.round_selection` says what is raised."""

    async def select(self, asked: SelectionRequested) -> RowsSelected: ...


@dataclass(frozen=True, slots=True)
class Rounds:
    """What the handlers need.

    `published` finds a checkpoint by model and id. `begins` answers a checkpoint that measures with the start of a round, where
    the policy of its dataset says so. `event_id_of` is the id that the `n`-th event sent for an event will have on the topic of
    states; `visible_s` bounds the wait for one that was committed. `clock` tells Unix seconds: by it phases begin and deadlines
    pass.
    """

    states: States
    selections: Selections
    policy_of: Callable[[str], Policy | None]
    published: Callable[[str, str], Awaitable[CheckpointPublished | None]]
    begins: Callable[[CheckpointPublished, str, str], Awaitable[RoundStarted | None]]
    event_id_of: Callable[[str, int], str]
    visible_s: float
    clock: Callable[[], float]
    limits: Limits = LIMITS
    written: "dict[tuple[str, int], _Written]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Written:
    """A partition's last batch: its events, and the states that they led to. Committed together, or not at all."""

    events: frozenset[str]
    states: tuple[str, ...]


async def take_facts(events: Sequence[Event[RoundProgressed]], rounds: Rounds) -> list[Result]:
    """Each round's state after these facts, and what its steps ask for, visible together with the facts' offsets.

    States are read from their topic before every batch: nothing that another process wrote is missed, and nothing that this one
    wrote and did not commit is believed.

    Raises:
        Stop: the broker does not answer.
    """
    await rounds.states.refresh(expecting=_committed_states(events, rounds), within_s=rounds.visible_s)
    rounds.written.clear()  # they were seen, or their transaction has come to nothing
    batch = _Batch(rounds)
    homes = {_home(event) for event in events}
    results = [batch.take(event) if _may_go(event, homes) else _ALONE for event in events]
    written = {batch.last[key]: state for key, state in batch.states.items()}
    results = [_with_state(event, result, written, rounds) for event, result in zip(events, results, strict=True)]
    for home in homes:
        states = [
            rounds.event_id_of(event.id, place)
            for event, result in zip(events, results, strict=True)
            if _home(event) == home and isinstance(result, Emit)
            for place, send in enumerate(result.sends)
            if send.topic == ROUND_STATE
        ]
        rounds.written[home] = _Written(frozenset(event.id for event in events if _home(event) == home), tuple(states))
    return results


_ALONE = Retry("not_alone", "facts that come back are taken in by themselves: each partition has a transaction of its own")


def _home(event: Event[RoundProgressed]) -> tuple[str, int]:
    return (event.position.topic, event.position.partition)


def _may_go(event: Event[RoundProgressed], homes: set[tuple[str, int]]) -> bool:
    """A round's facts lie in one partition, but for those that were sent back from the dead letters."""
    return event.position.topic == event.topic or len(homes) == 1


def _committed_states(events: Sequence[Event[RoundProgressed]], rounds: Rounds) -> list[str]:
    """The states that this process wrote last: those of each partition that has gone on since, so that they are committed."""
    first: dict[tuple[str, int], str] = {}
    for event in events:
        first.setdefault(_home(event), event.id)
    return [
        state for home, written in rounds.written.items() if first.get(home) not in written.events for state in written.states
    ]


def _with_state(event: Event[RoundProgressed], result: Result, written: Mapping[str, RoundState], rounds: Rounds) -> Result:
    """A round's state goes with the last of its facts in the batch that changed it."""
    state = written.get(event.id)
    if state is None or not isinstance(result, Emit):
        return result
    _log.info("round %s of %s: %s %s %s", state.round_id, state.dataset_id, state.phase, state.reason, state.detail)
    return Emit((*result.sends, Send(ROUND_STATE, state), *_next_round(state, event, rounds)))


def _next_round(state: RoundState, event: Event[RoundProgressed], rounds: Rounds) -> tuple[Send, ...]:
    """Where checkpoints begin rounds, a kept round's checkpoint begins the next one."""
    policy = rounds.policy_of(state.dataset_id) if state.phase is Phase.KEPT else None
    now = rounds.clock()
    round_id = round_id_at(now, event.id)
    try:
        begun = following(state, policy, round_id, now) if policy else None
    except ValueError as error:  # what the policy asks for by now; this round is kept all the same
        _log.warning("no round of %s follows round %s: %s", state.dataset_id, state.round_id, error)
        return ()
    if begun is None or policy is None:
        return ()
    if lacks_base(begun, policy):
        told = "had none, and only the start of a round by a person or a checkpoint looks for the model's first version"
        _log.warning("round %s of %s begins without a base: round %s %s", round_id, state.dataset_id, state.round_id, told)
    return (Send(ROUND_PROGRESSED, RoundProgressed(state.dataset_id, round_id, begun)),)


class _Batch:
    """States as they follow from one another within a batch; `last` names the event that changed each of them last."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self.states: dict[tuple[str, str], RoundState] = {}
        self.last: dict[tuple[str, str], str] = {}

    def take(self, event: Event[RoundProgressed]) -> Result:
        """Never raises: half a batch would be tried again then, without what the other half has changed."""
        body = event.body
        key = (body.dataset_id, body.round_id)
        try:
            state = self.states.get(key) or self._rounds.states.state_of(*key)
            known = self._rounds.states.of_dataset(body.dataset_id)
            others = {other.round_id: other for other in known} | {
                round_id: other for (dataset_id, round_id), other in self.states.items() if dataset_id == body.dataset_id
            }
            led = advance(state, body, self._rounds.clock(), others.values(), self._rounds.limits)
        except Exception as error:  # noqa: BLE001  # a fact that breaks the rules is that fact's trouble
            _log.exception("round %s of %s: a fact cannot be taken in", body.round_id, body.dataset_id)
            return Reject(type(error).__name__, str(error))
        if led.state is not None and led.state is not state:
            self.states[key], self.last[key] = led.state, event.id
        return Emit(led.sends)


async def wake(events: Sequence[Event[RoundTimer]], rounds: Rounds) -> list[Result]:
    """Say to each round that its phase has lasted too long, or look again later; of a phase that is over, nothing.

    Raises:
        Stop: the broker does not answer.
    """
    await rounds.states.refresh()
    return [_woken(event.body, rounds) for event in events]


def _woken(set_by: RoundTimer, rounds: Rounds) -> Result:
    state, now = rounds.states.state_of(set_by.dataset_id, set_by.round_id), rounds.clock()
    if state is None or state.transition < set_by.transition:
        return Retry("state_not_visible", "the state that set this timer was committed with it, and cannot be read yet")
    if state.transition != set_by.transition or state.deadline is None:
        return Emit()
    if now < state.deadline:
        return Emit((timer(state, now, rounds.limits),))
    return Emit((Send(ROUND_PROGRESSED, RoundProgressed(state.dataset_id, state.round_id, DeadlinePassed(state.transition))),))


async def take_step(events: Sequence[Event[RoundStepRequested]], rounds: Rounds) -> list[Result]:
    """Make a survey's table, its thresholds and its selection. Other steps are not ours.

    Raises:
        Stop: the object store is gone, or refuses.
    """
    return [await _selected(event.body, rounds) for event in events]


async def _selected(asked: RoundStepRequested, rounds: Rounds) -> Result:
    step = asked.step
    if not isinstance(step, SelectionRequested):
        return Emit()
    try:
        selected = await rounds.selections.select(step)
    except RowsMissing as error:
        return Retry("RowsMissing", str(error))
    except (DamagedVersion, TooManyRows, ValueError) as error:
        return Reject(type(error).__name__, str(error))
    return Emit((Send(ROUND_PROGRESSED, RoundProgressed(step.survey.dataset_id, step.survey.round_id, selected)),))


async def take_versions(events: Sequence[Event[DatasetCommitted]]) -> list[Result]:
    """Say to a round that the version which it asked for is there."""
    return [_committed(event.body) for event in events]


def _committed(committed: DatasetCommitted) -> Result:
    asked = cut_asked_for(committed.request_id)
    if asked is None:
        return Emit()
    fact = RoundCommitted(committed.version, committed.sequence, committed.rows_accepted, asked[1])
    return Emit((Send(ROUND_PROGRESSED, RoundProgressed(committed.dataset_id, asked[0], fact)),))


async def take_checkpoints(
    events: Sequence[Event[CheckpointRolledOut] | Event[CheckpointRefused]], rounds: Rounds
) -> list[Result]:
    """Say to the rounds of its dataset that a checkpoint measures, or was refused; and begin one where the policy says so.

    Raises:
        Stop: the broker, the model server or the object store does not answer.
    """
    return [await _checkpoint(event, rounds) for event in events]


async def _checkpoint(event: Event[CheckpointRolledOut] | Event[CheckpointRefused], rounds: Rounds) -> Result:
    told = event.body
    went_back = is_of_rollback(told) if isinstance(told, CheckpointRefused) else bool(told.rollback_request_id)
    if went_back or not told.checkpoint_id:
        return Emit()
    published = await rounds.published(told.model, told.checkpoint_id)
    if published is None or not published.data.dataset_id:
        return Emit()
    await rounds.states.refresh()
    running = [
        state
        for state in rounds.states.of_dataset(published.data.dataset_id)
        if state.running and state.begun.survey.model == told.model
    ]
    sends = [
        Send(ROUND_PROGRESSED, RoundProgressed(state.dataset_id, state.round_id, _measures(told, published, state)))
        for state in running
    ]
    if not running and isinstance(told, CheckpointRolledOut):
        begun = await rounds.begins(published, told.model_version, event.id)
        if begun is not None:
            sends.append(Send(ROUND_PROGRESSED, RoundProgressed(begun.survey.dataset_id, begun.survey.round_id, begun)))
    return Emit(tuple(sends))


def _measures(
    told: CheckpointRolledOut | CheckpointRefused, published: CheckpointPublished, state: RoundState
) -> CheckpointMeasures:
    """A checkpoint that has seen what the round measures by is no judge of it."""
    survey, data = state.begun.survey, published.data
    if isinstance(told, CheckpointRefused):
        return CheckpointMeasures(told.checkpoint_id, "", f"{told.step}: {told.reason}", whole_version_of(data))
    amiss = holds_out_too_little(data, survey.held_out_share, survey.held_out_seed)
    return CheckpointMeasures(told.checkpoint_id, told.model_version, amiss, whole_version_of(data))
