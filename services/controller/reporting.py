"""Writes the report of each round that has ended, or froze."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from headrace.core.events import Emit, Event, Reject, Result
from headrace.core.rounds.progress import Phase, RoundState
from headrace.core.versions import DamagedVersion
from services.controller.rounds import States


@dataclass(frozen=True, slots=True)
class Reporting:
    """What the handler needs: the dataset's other rounds, and `store`, which writes a report in place of an earlier one."""

    states: States
    store: Callable[[RoundState, Iterable[RoundState]], Awaitable[str]]


async def report_rounds(events: Sequence[Event[RoundState]], reporting: Reporting) -> list[Result]:
    """A report for every state that nothing moves on from by itself. Of other states nothing is said.

    Raises:
        Stop: the broker or the object store does not answer.
    """
    halted = [event for event in events if _is_halted(event.body)]
    if halted:
        await reporting.states.refresh()
    return [await _reported(event.body, reporting) if event in halted else Emit() for event in events]


def _is_halted(state: RoundState) -> bool:
    return bool(state.ordinal) and (not state.running or state.phase is Phase.FROZEN)


async def _reported(state: RoundState, reporting: Reporting) -> Result:
    try:
        await reporting.store(state, reporting.states.of_dataset(state.dataset_id))
    except (DamagedVersion, ValueError) as error:
        return Reject(type(error).__name__, f"the report of round {state.round_id} cannot be written: {error}")
    return Emit()
