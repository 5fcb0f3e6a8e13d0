"""Tells rounds what ended among the dead letters: read from the beginning at every start, told once to whoever counts."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from headrace.adapters.kafka.streams import BrokerUnreachable, KafkaError
from headrace.adapters.rounds.dead_letters import Letter
from headrace.core.events import Send, Stop
from headrace.core.rounds.facts import RoundAsked, RoundProgressed, RowLost
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.surveys import Purpose
from headrace.core.topics import ROUND_PROGRESSED
from services.controller.rounds import States

_log = logging.getLogger("headrace.controller")
_AGAIN_S = 1.0

Publish = Callable[[Send, str], Awaitable[object]]
"""Publishes an event under an id. Raises KafkaError."""


async def tell_rounds(
    letters: Callable[[], AsyncGenerator[Letter, None]], states: States, publish: Publish, again_s: float = _AGAIN_S
) -> None:
    """Follow the dead letters for ever, from the beginning again where the broker or the store was gone.

    A letter may be told several times, by several replicas too: a round counts each lost row by its name, and each dead letter
    that freezes it once.
    """
    while True:
        try:
            async with aclosing(letters()) as found:
                async for letter in found:
                    await states.refresh()
                    if says_something(letter.progressed, states):
                        await publish(Send(ROUND_PROGRESSED, letter.progressed), letter.id)
        except (BrokerUnreachable, KafkaError, Stop) as error:
            _log.warning("dead letters cannot be followed, again in %g s: %s", again_s, error)
        await asyncio.sleep(again_s)


def says_something(progressed: RoundProgressed, states: States) -> bool:
    """Whether the round runs, and does not know this yet."""
    state = states.state_of(progressed.dataset_id, progressed.round_id)
    return state is not None and state.running and not _is_known(progressed, state)


def _is_known(progressed: RoundProgressed, state: RoundState) -> bool:
    match progressed.fact:
        case RowLost(axis=None, purpose=None) as fact:
            revert = state.revert
            return revert is not None and f"{fact.sample_id}/{fact.revision}" in {*revert.lost, *revert.returned}
        case RowLost(axis=None) as fact:
            counts = state.held_out_rows if fact.purpose is Purpose.EVALUATION else state.rows
            return f"{fact.sample_id}/{fact.revision}" in {*counts.lost, *counts.returned}
        case RowLost() as fact:
            return f"{fact.sample_id}/{fact.axis}" in {*state.rewrites.lost, *state.rewrites.returned}
        case RoundAsked() as fact:
            return fact.dead_letter_id in state.dead_letters
    return False
