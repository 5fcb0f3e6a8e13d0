"""The spine around diversity, in memory and driven step by step: topics with offsets, admission, crashes, and zombies.

Handlers run as coroutines that give way before every operation on the index, so any interleaving can be played. What a
handler returns becomes visible together with its offset or not at all, as the delivery layer guarantees; what it does to the
index stays done. A zombie is a handler whose results will be dropped, but whose writes may come at any later time.
"""

import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headrace.core.dossiers import (
    Decision,
    Dossier,
    DuplicateKind,
    Embeddings,
    IndexedSample,
    ScoredSample,
    Verdict,
)
from headrace.core.events import Emit, Event, Position, Reject, Result, Retry
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import VectorIndex
from headrace.core.samples import Message, Sample, content_hash_of
from headrace.core.topics import DECIDED, HELD, INDEXED, PLACED, SCORED, Topic, retry_topic_name
from services.diversity.handlers import Diversity, Pace

DATASET = "world"
DIMENSIONS = 8


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def pause() -> None:
    """Gives way to whoever drives the coroutines by hand."""
    await _Pause()


@dataclass(eq=False)
class Record:
    """One record of a topic."""

    body: Any
    offset: int
    not_before: float = 0.0
    origin: Position | None = None


@dataclass(eq=False)
class Hop:
    """One subscription: a log, what is committed of it, and the attempt in hand."""

    topic: Topic
    handler: Callable[[Sequence[Event[Any]]], Awaitable[Sequence[Result]]]
    retried: bool = False
    log: list[Record] = field(default_factory=list)
    committed: int = 0
    batch: list[Record] = field(default_factory=list)
    attempt: Coroutine[Any, Any, Sequence[Result]] | None = None

    @property
    def name(self) -> str:
        return retry_topic_name(self.topic.name, "diversity") if self.retried else self.topic.name

    def event(self, record: Record) -> Event[Any]:
        return Event(
            f"{self.name}-{record.offset}", self.topic.name, DATASET, record.body, 0.0,
            Position(self.name, 0, record.offset), origin=record.origin,
        )  # fmt: skip


def sample_of(sample_id: str, revision: int, text: str, prompt: str = "prompt") -> Sample:
    messages = (Message("user", prompt), Message("assistant", text))
    return Sample(DATASET, sample_id, revision, content_hash_of(messages, "", None), messages)


def scored_of(sample: Sample, prompt: np.ndarray, conversation: np.ndarray, version: str = "1") -> ScoredSample:
    embeddings = Embeddings("model", version, prompt.astype("<f4").tobytes(), conversation.astype("<f4").tobytes())
    return ScoredSample(Dossier(sample, 0.0), embeddings)


def conversation_of(scored: ScoredSample) -> np.ndarray:
    assert scored.embeddings is not None
    return np.frombuffer(scored.embeddings.conversation, "<f4")


class World:
    """Everything around one dataset. `choose` makes every choice."""

    def __init__(self, index: VectorIndex, policy: Policy, choose: random.Random, *, chaos: float, parks: float = 0.0) -> None:
        self.now = 1_000.0
        self.index = index
        self.policy = policy
        self.choose = choose
        self.chaos = chaos
        self.parks = parks
        self.diversity = Diversity(index, lambda _: policy, Pace(0.25, looks_max=3), clock=lambda: self.now)
        self.scored = Hop(SCORED, self.diversity.place)
        self.scored_again = Hop(SCORED, self.diversity.place, retried=True)
        self.held = Hop(HELD, self.diversity.recheck)
        self.held_again = Hop(HELD, self.diversity.recheck, retried=True)
        self.decided = Hop(DECIDED, self.diversity.settle)
        self.hops: tuple[Hop, ...] = (self.scored, self.scored_again, self.held, self.held_again, self.decided)
        self.drowsiness = choose.choice([0.0, 0.9, 0.99, 1.0])
        self.zombies: list[Coroutine[Any, Any, Any]] = []
        self.placed: list[Dossier] = []
        self.letters: list[Dossier | ScoredSample] = []
        self.released = 0
        self.redriven: set[int] = set()
        self.submitted: list[ScoredSample] = []
        self.accepted: list[Dossier] = []
        self.rejected: list[Dossier] = []
        self.indexed: list[IndexedSample] = []
        self.merits: dict[str, bool] = {}

    # What happens

    def submit(self, scored: ScoredSample, *, merit: bool) -> None:
        self.submitted.append(scored)
        self.merits.setdefault(scored.dossier.sample.content_hash, merit)
        self._append(self.scored, scored)

    def step(self) -> None:
        """One thing happens: a hop moves on, fails or is suspended, a decision is made, a zombie moves, time passes."""
        moves: list[Callable[[], None]] = [
            self._tick,
            self._decide,
            self._release,
            *[lambda hop=hop: self._move(hop) for hop in self.hops],
        ]
        if self.zombies and self.choose.random() >= self.drowsiness:
            moves.append(self._move_zombie)
        if self.chaos:
            moves.append(self._redrive)
        self.choose.choice(moves)()

    def settle_down(self, steps_max: int = 200_000) -> None:
        """Everything that is in flight ends; nothing fails any more."""
        self.chaos = 0.0
        for _ in range(steps_max):
            if not self.in_flight():
                break
            self.step()
        assert not self.in_flight(), "the world does not come to rest"
        while self.zombies:
            self._move_zombie()

    def in_flight(self) -> int:
        waiting = sum(len(hop.log) - hop.committed for hop in self.hops)
        return waiting + len(self.placed) + len(self.letters) - self.released

    # Hops

    def _move(self, hop: Hop) -> None:
        if hop.attempt is None:
            hop.batch = self._due(hop)
            if hop.batch and hop.topic is SCORED and self.choose.random() < self.chaos / 2:
                self._retry(hop, hop.batch[0])  # the handler failed on it before it was entered
                hop.committed += 1
            elif hop.batch:
                hop.attempt = hop.handler([hop.event(record) for record in hop.batch])  # type: ignore[assignment]
            return
        if self.choose.random() < self.chaos:
            self._fail(hop)
            return
        try:
            hop.attempt.send(None)
        except StopIteration as done:
            hop.attempt = None
            if self.choose.random() >= self.chaos:
                self._commit(hop, done.value)

    def _due(self, hop: Hop) -> list[Record]:
        due = []
        for record in hop.log[hop.committed : hop.committed + self.choose.randint(1, 6)]:
            if record.not_before > self.now:
                break
            due.append(record)
        return due

    def _fail(self, hop: Hop) -> None:
        """The process dies, or it is suspended and taken for dead: its results will never count."""
        attempt, hop.attempt = hop.attempt, None
        assert attempt is not None
        if self.choose.random() < 0.5:
            attempt.close()
        else:
            self.zombies.append(attempt)

    def _commit(self, hop: Hop, results: Sequence[Result]) -> None:
        assert len(results) == len(hop.batch)
        for record, result in zip(hop.batch, results, strict=True):
            if hop.topic is not DECIDED and self.choose.random() < self.chaos:
                # As if the handler had failed on this record alone: it comes back through the retry topic.
                self._retry(hop, record)
            else:
                self._take(hop, record, result)
        hop.committed += len(hop.batch)

    def _take(self, hop: Hop, record: Record, result: Result) -> None:
        assert not isinstance(result, Retry), result
        if isinstance(result, Reject):
            assert hop.topic is not DECIDED, f"not settled: {result}"
            assert result.error_class == "HeldTooLong", result
            self.letters.append(record.body)
            return
        sends = result.sends
        assert isinstance(result, Emit)
        for send in sends:
            if send.topic is PLACED:
                self.placed.append(send.body)  # type: ignore[arg-type]
            elif send.topic is INDEXED:
                self.indexed.append(send.body)  # type: ignore[arg-type]
            else:
                target = {SCORED.name: self.scored, HELD.name: self.held}[send.topic.name]
                self._append(target, send.body, send.not_before or 0.0)
        if hop.topic in (SCORED, HELD):
            assert len(sends) == 1, "a sample goes exactly one way"

    def _retry(self, hop: Hop, record: Record) -> None:
        again = self.scored_again if hop.topic is SCORED else self.held_again
        self._append(again, record.body, origin=record.origin or Position(hop.topic.name, 0, record.offset))

    @staticmethod
    def _append(hop: Hop, body: Any, not_before: float = 0.0, origin: Position | None = None) -> None:
        hop.log.append(Record(body, len(hop.log), not_before, origin))

    # Around

    def _tick(self) -> None:
        self.now += self.choose.choice([0.01, 0.1, 0.3])

    def _move_zombie(self) -> None:
        zombie = self.choose.choice(self.zombies)
        try:
            zombie.send(None)
        except StopIteration:
            self.zombies.remove(zombie)

    def _decide(self) -> None:
        """Admission decides one of the placed samples, whichever; or gives it up."""
        if not self.placed:
            return
        dossier = self.placed.pop(self.choose.randrange(len(self.placed)))
        if self.choose.random() < self.parks:
            self.letters.append(dossier)
            return
        placement = dossier.placement
        assert placement is not None
        quota = self.policy.prompt_copies_max()
        admit = (
            placement.duplicate_kind is DuplicateKind.NONE
            and self.merits[dossier.sample.content_hash]
            and (quota is None or placement.prompt_copies < quota)
        )
        verdict = Verdict.ACCEPTED if admit else Verdict.REJECTED
        decided = replace(dossier, decisions=(Decision(verdict, "because", "policy"),))
        (self.accepted if admit else self.rejected).append(decided)
        self._append(self.decided, decided)

    def _release(self) -> None:
        """The follower of dead letters reads on, or starts over."""
        if self.choose.random() < self.chaos:
            self.released = 0
        if self.released < len(self.letters):
            body = self.letters[self.released]
            topic = PLACED if isinstance(body, Dossier) else HELD
            event: Event[Any] = Event("letter", topic.name, DATASET, body, 0.0, Position(f"{topic.name}.dlq", 0, self.released))
            run(self.diversity.release([event]))
            self.released += 1

    def _redrive(self) -> None:
        """Someone sends a letter of the hold back, whether its point was released meanwhile or not."""
        for number, body in enumerate(self.letters):
            if isinstance(body, ScoredSample) and number not in self.redriven and self.choose.random() < 0.3:
                self.redriven.add(number)
                self._append(self.held_again, body, origin=Position(HELD.name, 0, -1))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that only ever pauses to its end."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
