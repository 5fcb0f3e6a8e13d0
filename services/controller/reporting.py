"""Writes the report of each round that has ended, or froze."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from headrace.core.events import Emit, Event, Reject, Result
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.versions import DamagedVersion
from services.controller.rounds import States


@dataclass(frozen=True, slots=True)
class Reporting:
    """What the handler needs: the dataset's other rounds, and `store`, which writes a report in place of an earlier one.

    `settle` returns once what was decided before the call is staged, or after a bounded wait: a round without a version has its
    rewrites there.
    """

    states: States
    store: Callable[[RoundState, Iterable[RoundState]], Awaitable[str]]
    settle: Callable[[], Awaitable[None]]


async def report_rounds(events: Sequence[Event[RoundState]], reporting: Reporting) -> list[Result]:
    """A report for each round that nothing moves on from by itself, as it stands at the end of the batch.

    A frozen round goes on counting, and each count is a state: one report of them is enough.

    Raises:
        Stop: the broker or the object store does not answer.
    """
    latest = {(event.body.dataset_id, event.body.round_id): number for number, event in enumerate(events)}
    halted = {number for number in latest.values() if _is_halted(events[number].body)}
    if halted:
        await reporting.states.refresh()
    if any(_reads_staged(events[number].body) for number in halted):
        await reporting.settle()
    return [await _reported(event.body, reporting) if n in halted else Emit() for n, event in enumerate(events)]


def _is_halted(state: RoundState) -> bool:
    return bool(state.ordinal) and (not state.running or state.phase is Phase.FROZEN)


def _reads_staged(state: RoundState) -> bool:
    return state.committed is None and state.rewrites.ended > 0


async def _reported(state: RoundState, reporting: Reporting) -> Result:
    try:
        await reporting.store(state, reporting.states.of_dataset(state.dataset_id))
    except (DamagedVersion, ValueError) as error:
        return Reject(type(error).__name__, f"the report of round {state.round_id} cannot be written: {error}")
    return Emit()
