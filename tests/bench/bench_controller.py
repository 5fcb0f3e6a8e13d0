"""What rounds cost the controller: `python -m tests.bench.bench_controller [ROWS...]` (default 1,000 to 1,000,000).

One whole round of so many rows goes through the controller's handlers, in batches; facts, steps and states are encoded and read
as in Kafka. Rows are measured ten at a time, one in a thousand is among the dead letters and half of those come back; a fifth of
the rows is rewritten, page by page, for one of sixty reasons each. "+RSS" is what this adds to the process at its peak, "state
bytes" the largest state that was written, "named" the dead letters in it. Selections are `bench_selection`'s.
"""

import asyncio
import itertools
import os
import resource
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from headrace.adapters.wire.envelope import derived_id
from headrace.adapters.wire.events import decode, encode
from headrace.core.dossiers import DatasetCutRequested
from headrace.core.events import Emit, Event, Position, Send
from headrace.core.rounds.facts import (
    Ending,
    Fact,
    RewriteEnded,
    RewritesRequested,
    RoundProgressed,
    RowLost,
    RowsMeasured,
    RowsSelected,
    RowsSent,
)
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import Phase, RoundState, RoundTimer
from headrace.core.rounds.surveys import (
    Purpose,
    RefiningRequested,
    RoundStepRequested,
    SelectionRequested,
    SurveyRequested,
)
from headrace.core.topics import ROUND_PROGRESSED, ROUND_STATE, ROUND_STEP_REQUESTED, ROUND_TIMER, Topic
from services.controller.rounds import Rounds, take_facts, take_step, wake
from tests.bench.bench_selection import peak_mib
from tests.fakes.certain import certain
from tests.fakes.round_parts import NOW, Parts, started

GROWTH_MIB_MAX = 24.0
STATE_BYTES_MAX = 256 * 1024
"""From here on a body lies in the object store, and a state would be read by nobody."""

BATCH = 500
PAGE_ROWS = 500
TOLD_AT_ONCE = 10
LOST_EVERY = 1_000
REASONS = 60
RULES = RoundPolicy.model_validate({"guards": {"lost_rows_max": 5_000, "model_written_share_max": 1.0}})
Body = TypeVar("Body")

_DETAIL = "so it was told, at some length: " * 9


class StatesTopic:
    """States as their topic has them; as whoever follows it, this one holds the latest of each round."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], bytes] = {}
        self._read: dict[tuple[str, str], RoundState] = {}
        self.largest = 0

    def write(self, state: RoundState) -> None:
        body = encode(state)
        self._written[state.dataset_id, state.round_id] = body
        self.largest = max(self.largest, len(body))

    async def refresh(self, *, expecting: Iterable[str] = (), within_s: float = 0.0) -> None:
        self._read |= {key: decode(RoundState, body) for key, body in self._written.items()}
        self._written.clear()

    def state_of(self, dataset_id: str, round_id: str) -> RoundState | None:
        return self._read.get((dataset_id, round_id))

    def of_dataset(self, dataset_id: str) -> list[RoundState]:
        return [state for key, state in self._read.items() if key[0] == dataset_id]


class Selected:
    """A fifth of the rows, more or less as many on each axis."""

    def __init__(self, rows: int) -> None:
        self.by_axis = (rows // 10, rows // 20, rows // 20)
        self.parts = Parts(selected=self.by_axis, held_out_rows=rows // 10)

    async def select(self, asked: SelectionRequested) -> RowsSelected:
        return self.parts.selection(asked.survey.purpose)


class Round:
    """One round, answered by a script that holds no more than what is on its way."""

    def __init__(self, rows: int) -> None:
        self.rows, self.facts, self.batches, self._offset = rows, 0, 0, itertools.count()
        self.topic, self.selected = StatesTopic(), Selected(rows)
        self.waiting: deque[Iterator[Fact]] = deque()
        self.handlers = Rounds(
            states=self.topic,
            selections=self.selected,
            policy_of=lambda _: None,
            published=_nothing,
            begins=_nothing,
            event_id_of=lambda event_id, place: derived_id(event_id, ROUND_STATE.name, place),
            visible_s=1.0,
            clock=lambda: NOW,
        )

    async def played(self) -> RoundState:
        """The state at its end."""
        await self._take([started(RULES, self.rows)])
        while self.waiting:
            batch = list(itertools.islice(self.waiting[0], BATCH))
            if len(batch) < BATCH:
                self.waiting.popleft()
            await self._take([RoundProgressed("arithmetic", "r1", fact) for fact in batch])
        await self.topic.refresh()
        return certain(self.topic.state_of("arithmetic", "r1"))

    async def _take(self, told: list[RoundProgressed]) -> None:
        self.facts, self.batches = self.facts + len(told), self.batches + bool(told)
        results = await take_facts([self._read(ROUND_PROGRESSED, body) for body in told], self.handlers)
        for send in _sent(results):
            if send.topic == ROUND_STATE and isinstance(send.body, RoundState):
                self.topic.write(send.body)
        for send in _sent(results):
            await self._answer(send)

    async def _answer(self, send: Send) -> None:
        if isinstance(send.body, RoundTimer):
            await wake([self._read(ROUND_TIMER, send.body)], self.handlers)
        elif isinstance(send.body, DatasetCutRequested):
            self.waiting.append(iter(self.selected.parts.answer(send)))
        elif isinstance(send.body, RoundStepRequested):
            event = self._read(ROUND_STEP_REQUESTED, send.body)
            step = event.body.step
            if isinstance(step, SelectionRequested):
                found = [each.body for each in _sent(await take_step([event], self.handlers))]
                self.waiting.append(body.fact for body in found if isinstance(body, RoundProgressed))
            elif isinstance(step, SurveyRequested):
                self.waiting.append(self._surveyed(step.survey.purpose))
            elif isinstance(step, RefiningRequested):
                self.waiting.append(self._refined(step))
            else:
                self.waiting.append(iter(self.selected.parts.answer(send)))

    def _read(self, topic: Topic, body: Body) -> Event[Body]:
        offset = next(self._offset)
        read = decode(type(body), encode(body))
        return Event(f"e{offset}", topic.name, "arithmetic", read, NOW, Position(topic.name, 0, offset))

    def _surveyed(self, purpose: Purpose) -> Iterator[Fact]:
        rows = self.rows if purpose is Purpose.ROUND else self.rows // 10
        for first in range(0, rows, PAGE_ROWS):
            yield RowsSent(purpose, min(PAGE_ROWS, rows - first), complete=first + PAGE_ROWS >= rows)
        lost = range(0, rows, LOST_EVERY)
        for number in lost:
            yield RowLost(purpose, _id_of(number), 0, "scoring", "gone")
        for number in lost[::2]:
            yield RowsMeasured(purpose, 1, 0, 900, 0.5, f"{_id_of(number)}/0")
        left = rows - len(lost)
        for first in range(0, left, TOLD_AT_ONCE):
            yield RowsMeasured(purpose, min(TOLD_AT_ONCE, left - first), 1, 900, 0.5)

    def _refined(self, step: RefiningRequested) -> Iterator[Fact]:
        axes, total = self.selected.by_axis, sum(self.selected.by_axis)
        page = range(step.first_row, min(total, step.first_row + step.rows))
        yield RewritesRequested(len(page), complete=page.stop >= total)
        for row in page:
            axis = Axis.HARD if row < axes[0] else Axis.SPARSE if row < axes[0] + axes[1] else Axis.LOW_QUALITY
            end = RewriteEnded(
                axis, _id_of(row), list(Ending)[row % 3], f"reason_{row % REASONS}", 2, 900, 0.01, detail=_DETAIL, row=row
            )
            if row % LOST_EVERY:
                yield end
                continue
            yield RowLost(None, _id_of(row), 0, "scoring", "gone", axis)
            if row % (2 * LOST_EVERY):
                yield replace(end, sent_back=True)


def _id_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _sent(results: Iterable[object]) -> list[Send]:
    assert all(isinstance(result, Emit) for result in results), "a fact was not taken in"
    return [send for result in results if isinstance(result, Emit) for send in result.sends]


async def _nothing(*_: object) -> None:
    return None


def measure(rows: int) -> None:
    """One line: what one round took."""
    asyncio.run(Round(100).played())  # what is loaded with the first one is there
    before, used = peak_mib(), resource.getrusage(resource.RUSAGE_SELF)
    played = Round(rows)
    state = asyncio.run(played.played())
    now = resource.getrusage(resource.RUSAGE_SELF)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    grown, rewrites = peak_mib() - before, state.rewrites
    named = sum(len(each.lost) + len(each.returned) for each in (state.rows, state.held_out_rows, rewrites))
    print(
        f"{rows:>9,} {played.facts:>9,} {played.batches:>8,} {rewrites.ended:>9,} {named:>6,} {played.topic.largest:>11,} "
        f"{grown:>9.1f} {before:>9.0f} {seconds:>7.1f} {seconds / played.facts * 1e6:>8.0f}",
        flush=True,
    )
    assert state.phase is Phase.KEPT, f"{state.phase}: {state.reason} {state.detail}"
    assert rewrites.ended == sum(played.selected.by_axis)
    assert grown < GROWTH_MIB_MAX, "the controller's memory grows with the dataset"
    assert played.topic.largest < STATE_BYTES_MAX, "a round's state outgrows its record"


def main() -> None:
    """Each size in a process of its own, so that its peak of memory is its own."""
    if size := os.environ.get("BENCH_CASE"):
        measure(int(size))
        return
    titles = {
        "rows": 9, "facts": 9, "batches": 8, "rewrites": 9, "named": 6, "state bytes": 11, "+RSS MiB": 9, "from MiB": 9,
        "cpu s": 7, "us/fact": 8,
    }  # fmt: skip
    print(" ".join(f"{title:>{width}}" for title, width in titles.items()), flush=True)
    for rows in sys.argv[1:] or ("1000", "10000", "100000", "1000000"):
        subprocess.run([sys.executable, "-m", "tests.bench.bench_controller"], env=os.environ | {"BENCH_CASE": rows}, check=True)


if __name__ == "__main__":
    main()
