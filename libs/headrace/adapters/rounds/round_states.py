"""Every round as it stands, read from its compacted topic and brought up to date whenever somebody asks."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Self

from headrace.adapters.kafka.streams import START_S, RecordReader, decoded
from headrace.core.events import Stop
from headrace.core.rounds.state import RoundState
from headrace.core.topics import ROUND_STATE

_AGAIN_S = 0.02


class RoundStates:
    """The latest state of every round: one record of a few kilobytes for each, none for a sample."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader
        self._states: dict[tuple[str, str], RoundState] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._refreshing = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def opened(cls, bootstrap: str, *, start_s: float = START_S) -> AsyncIterator[Self]:
        """States of a broker. Raises BrokerUnreachable where it does not answer in time, or lacks the topic."""
        async with RecordReader.opened(bootstrap, [ROUND_STATE.name], start_s=start_s) as reader:
            yield cls(reader)

    async def refresh(self, *, expecting: Iterable[str] = (), within_s: float = 0.0) -> None:
        """Read what was written since the last call, up to now.

        With `expecting`, ids of events that are the latest of their rounds, until all were read or the time is over. A
        transaction is committed a moment before its records can be read: who has written a state and asks at once would miss it.

        Raises:
            Stop: the broker does not answer.
        """
        wanted = set(expecting)
        deadline = asyncio.get_running_loop().time() + within_s
        async with self._refreshing:
            while True:
                await self._read()
                if wanted <= set(self._ids.values()) or asyncio.get_running_loop().time() > deadline:
                    return
                await asyncio.sleep(_AGAIN_S)

    def state_of(self, dataset_id: str, round_id: str) -> RoundState | None:
        """The round as it stood at the last refresh; None where there is none."""
        return self._states.get((dataset_id, round_id))

    def of_dataset(self, dataset_id: str) -> list[RoundState]:
        """A dataset's rounds in the order of their beginnings, those that never began among them."""
        return [state for state in self.known() if state.dataset_id == dataset_id]

    def known(self) -> list[RoundState]:
        """The rounds of all datasets, in the order of their beginnings."""
        return sorted(self._states.values(), key=lambda state: (state.begun.started_at, state.round_id))

    def running(self) -> list[RoundState]:
        """All rounds that have not ended."""
        return [state for state in self._states.values() if state.running]

    async def _read(self) -> None:
        try:
            async for record in self._reader.until_now():
                event = decoded(ROUND_STATE, record)
                if event is not None and isinstance(event.body, RoundState):
                    key = (event.body.dataset_id, event.body.round_id)
                    self._states[key], self._ids[key] = event.body, event.id
        except Exception as error:  # whatever it is: a batch that is split here would be told half of what it needs
            raise Stop(f"the rounds' states cannot be read: {error!r}") from error
