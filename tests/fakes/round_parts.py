"""The parts that answer a round's steps, by a script: surveys, densities, selections, rewrites, evictions, versions, trainers."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.core.checkpoints import RollbackRequested
from headrace.core.dossiers import DatasetCutRequested
from headrace.core.events import Send
from headrace.core.rounds.facts import (
    CheckpointMeasures,
    Cut,
    DeadlinePassed,
    DensitiesMade,
    Ending,
    Fact,
    RestorationEnded,
    RewriteEnded,
    RewritesRequested,
    RoundCommitted,
    RoundProgressed,
    RoundStarted,
    RowLost,
    RowsEvicted,
    RowsMeasured,
    RowsReverted,
    RowsSelected,
    RowsSent,
)
from headrace.core.rounds.machine import advance
from headrace.core.rounds.moves import LIMITS, Limits, cut_asked_for
from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.rules import Axis
from headrace.core.rounds.state import RoundState, RoundTimer
from headrace.core.rounds.surveys import (
    DensityRequested,
    EvictionRequested,
    Judge,
    Purpose,
    RefiningRequested,
    RevertRequested,
    RoundStepRequested,
    SelectionRequested,
    Survey,
    SurveyRequested,
)

NOW = 1_000_000.0
VERSION, NEXT_VERSION = "9f" * 32, "8e" * 32
SURVEY = Survey("arithmetic", "r1", Purpose.ROUND, VERSION, "signals", "2", "signals", "1", Judge.LOGITS, 0.1, "seed")


def started(rules: RoundPolicy | None = None, rows: int = 10, round_id: str = "r1") -> RoundProgressed:
    """The command that begins a round."""
    rules = rules or RoundPolicy()
    survey = replace(SURVEY, round_id=round_id)
    fact = RoundStarted(survey, 5, rows, "0123456789ab", rules.canonical_json(), "ada", NOW, "ab" * 32)
    return RoundProgressed("arithmetic", round_id, fact)


@dataclass
class Parts:
    """Every part, as it answers; `lost` rows end among the dead letters, `selected` are hard, sparse and low-quality ones.

    `undoes` rows come back when the round is undone, by the id; False where one is among the dead letters.
    """

    rows: int = 10
    page_rows: int = 4
    lost: int = 0
    not_made: int = 0
    selected: tuple[int, int, int] = (2, 1, 1)
    endings: tuple[Ending, ...] = (Ending.ACCEPTED,)
    end_reason: str = ""
    tokens: int | None = 100
    held_out_before: float | None = 1.5
    held_out_after: float | None = 1.4
    held_out_rows: int = 2
    model_written: int = 0
    trains: bool = True
    refused: str = ""
    undoes: dict[str, bool] = field(default_factory=lambda: {"problem-0": True, "problem-1": True})

    def answer(self, send: Send) -> list[Fact]:
        """What comes back for one event that the round sent."""
        body = send.body
        if isinstance(body, DatasetCutRequested):
            asked = cut_asked_for(body.request_id)
            if asked is not None and asked[1] is not Cut.MADE:
                return [RoundCommitted("7d" * 32, 7, self.rows, asked[1])]
            trained = [CheckpointMeasures("cd" * 32, "3", self.refused, NEXT_VERSION)] if self.trains else []
            return [RoundCommitted(NEXT_VERSION, 6, self.rows), *trained]
        if not isinstance(body, RoundStepRequested):
            return []
        match body.step:
            case SurveyRequested() as step:
                return self._surveyed(step.survey.purpose)
            case DensityRequested() as step:
                return [DensitiesMade(step.rows, complete=True)]
            case SelectionRequested() as step:
                return [self.selection(step.survey.purpose)]
            case RefiningRequested() as step:
                return self._refined(step)
            case EvictionRequested() as step:
                return [RowsEvicted(step.rows)]
            case RevertRequested() as step:
                return self._undone(step)

    def _surveyed(self, purpose: Purpose) -> list[Fact]:
        rows, lost = (self.rows, self.lost) if purpose is Purpose.ROUND else (self.held_out_rows, 0)
        pages = [
            RowsSent(purpose, min(self.page_rows, rows - at), at + self.page_rows >= rows)
            for at in range(0, rows, self.page_rows)
        ]
        measured = [RowsMeasured(purpose, 1, int(at < self.not_made), 50, 0.5) for at in range(rows - lost)]
        named = [RowLost(purpose, f"problem-{at}", 0, "scoring", "gone") for at in range(lost)]
        return [*(pages or [RowsSent(purpose, 0, complete=True)]), *measured, *named]

    def selection(self, purpose: Purpose) -> RowsSelected:
        if purpose is Purpose.EVALUATION:
            return RowsSelected(purpose, 0, 0, 0, "{}", "", self.held_out_after, self.held_out_rows, self.held_out_before)
        return RowsSelected(
            purpose, *self.selected, '{"axes":[]}', "34" * 32, self.held_out_before, self.held_out_rows, None, self.model_written
        )

    def _undone(self, step: RevertRequested) -> list[Fact]:
        """One row a page; those that are back are found no more."""
        left = [each for each in sorted(self.undoes) if each > step.after]
        if not left:
            return [RowsReverted(0, 0, complete=True)]
        is_back = self.undoes.pop(left[0])
        end = RestorationEnded(left[0], 34, accepted=True, reason="accepted")
        lost = RowLost(None, left[0], 34, "scoring", "gone")
        return [RowsReverted(1, 0, complete=False), end if is_back else lost, *self._undone(replace(step, after=left[0]))]

    def _refined(self, step: RefiningRequested) -> list[Fact]:
        hard, sparse, low_quality = self.selected
        axes = [Axis.HARD] * hard + [Axis.SPARSE] * sparse + [Axis.LOW_QUALITY] * low_quality
        page = range(step.first_row, min(len(axes), step.first_row + step.rows))
        ends = [
            RewriteEnded(
                axes[at], f"problem-{at}", self.endings[at % len(self.endings)], self.end_reason, 1, self.tokens,
                None if self.tokens is None else self.tokens / 1_000,
            )
            for at in page
        ]  # fmt: skip
        return [RewritesRequested(len(page), page.stop >= len(axes)), *ends]


@dataclass
class Rounds:
    """Rounds of one dataset, each fact taken in as it comes; `sent` is all that they sent."""

    limits: Limits = LIMITS
    now: float = NOW
    states: dict[str, RoundState] = field(default_factory=dict)
    sent: list[Send] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    def take(self, progressed: RoundProgressed) -> tuple[Send, ...]:
        """One fact; what it leads to."""
        others = [state for name, state in self.states.items() if name != progressed.round_id]
        led = advance(self.states.get(progressed.round_id), progressed, self.now, others, self.limits)
        if led.state is not None:
            self.states[progressed.round_id] = led.state
            if not self.passed or self.passed[-1] != led.state.phase:
                self.passed.append(led.state.phase.value)
        self.sent += led.sends
        return led.sends

    def tell(self, fact: Fact, round_id: str = "r1") -> tuple[Send, ...]:
        return self.take(RoundProgressed("arithmetic", round_id, fact))

    def run(self, begin: RoundProgressed, parts: Parts) -> RoundState:
        """To where the round goes by itself, everything answered in order."""
        waiting = list(self.take(begin))
        while waiting:
            for fact in parts.answer(waiting.pop(0)):
                waiting += self.tell(fact, begin.round_id)
        return self.states[begin.round_id]

    def deadline(self, round_id: str = "r1") -> tuple[Send, ...]:
        """The clock moves to the deadline of the round's phase, and its timer comes."""
        state = self.states[round_id]
        assert state.deadline is not None
        self.now = state.deadline
        return self.tell(DeadlinePassed(state.transition), round_id)

    def steps(self) -> list[Any]:
        """The steps that were asked for, requests for versions and rollbacks with them, timers not."""
        return steps_of(self.sent)


def going(phase: str = "surveying") -> Rounds:
    """Rounds of which the first has just entered a phase, and waits there."""
    rounds, parts = Rounds(), Parts()
    waiting = list(rounds.take(started()))
    while rounds.states["r1"].phase != phase:
        for fact in parts.answer(waiting.pop(0)):
            waiting += rounds.tell(fact)
            if rounds.states["r1"].phase == phase:
                return rounds
    return rounds


def steps_of(sends: Iterable[Send]) -> list[Any]:
    """What was asked for: steps, versions and rollbacks."""
    return [
        send.body.step if isinstance(send.body, RoundStepRequested) else send.body
        for send in sends
        if isinstance(send.body, RoundStepRequested | DatasetCutRequested | RollbackRequested)
    ]


def timers_of(sends: Iterable[Send]) -> list[tuple[RoundTimer, float | None]]:
    """The timers among what was sent, and when they come."""
    return [(send.body, send.not_before) for send in sends if isinstance(send.body, RoundTimer)]
