"""Which version is to be trained next: what a round waits for, else the latest, as long as it has no checkpoint."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from headrace.adapters.kafka.streams import BrokerUnreachable, KafkaError, RecordReader, decoded, read_topic
from headrace.adapters.rounds.round_states import RoundStates
from headrace.core.checkpoints import CheckpointPublished
from headrace.core.events import Stop
from headrace.core.policies import TrainingRules
from headrace.core.rounds.binding import is_trained_on
from headrace.core.rounds.state import Phase, RoundState
from headrace.core.topics import CHECKPOINT_PUBLISHED, COMMITTED

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Due:
    """A version to be trained on, and what is to be held out of it."""

    version: str
    rules: TrainingRules


def awaited(states: Iterable[RoundState], model: str) -> Due | None:
    """What a round waits for: the version that it made, without the very prompts that it measures by; also of a frozen one."""
    for state in states:
        survey = state.begun.survey
        if state.running and state.working_in is Phase.TRAINING and state.committed is not None and survey.model == model:
            rules = TrainingRules(held_out_share=survey.held_out_share, held_out_seed=survey.held_out_seed)
            return Due(state.committed.version, rules)
    return None


def is_busy(states: Iterable[RoundState], model: str) -> bool:
    """Whether a round is at work with the model: what is cut meanwhile is out of date once the round has made its own version."""
    return any(state.running and state.phase is not Phase.FROZEN and state.begun.survey.model == model for state in states)


def is_undone(states: Iterable[RoundState], version: str) -> bool:
    """Whether a round was undone by this version: it has the rows of the one before, whose model measures again."""
    cuts = [cut for state in states if state.revert for cut in (state.revert.standing, state.revert.version)]
    return version in {cut.version for cut in cuts if cut is not None}


def is_trained(published: Iterable[CheckpointPublished], dataset_id: str, model: str, due: Due) -> bool:
    """Whether the model has a checkpoint of that version, whoever trained it, that holds out what is to be held out."""
    share, seed = due.rules.held_out_share, due.rules.held_out_seed
    return any(each.model == model and is_trained_on(each, dataset_id, due.version, share, seed) for each in published)


@dataclass(slots=True)
class News:
    """What a dataset's trainer waits for: versions that are committed, and rounds that begin or end to wait for it."""

    dataset_id: str
    model: str
    states: RoundStates
    _kafka: str
    _commits: RecordReader
    _seen: tuple[object, ...] = field(default=())

    @classmethod
    @asynccontextmanager
    async def opened(cls, kafka: str, dataset_id: str, model: str) -> AsyncIterator[Self]:
        """From here on nothing is missed. Raises BrokerUnreachable where the broker does not answer, or lacks the topics."""
        async with (
            RoundStates.opened(kafka) as states,
            RecordReader.opened(kafka, [COMMITTED.name], start="end") as commits,
        ):
            yield cls(dataset_id, model, states, kafka, commits)

    async def rounds(self) -> list[RoundState]:
        """The dataset's rounds as they stand. Raises Stop where the broker does not answer."""
        await self.states.refresh()
        states = self.states.of_dataset(self.dataset_id)
        self._seen = self._told_by(states)
        return states

    async def published(self) -> list[CheckpointPublished]:
        """All checkpoints of all models: a record for each.

        Raises:
            BrokerUnreachable: the broker does not answer.
        """
        async with aclosing(read_topic(CHECKPOINT_PUBLISHED, self._kafka, until_now=True)) as events:
            return [event.body async for event in events]

    async def wait(self) -> None:
        """Until there is a version more, or rounds stand otherwise than at the last look at them.

        Raises:
            Stop: the broker does not answer.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                records = [record async for record in self._commits.until_now()]
            except (BrokerUnreachable, KafkaError) as error:
                raise Stop(f"{COMMITTED.name} cannot be read: {error!r}") from error
            committed = [event for record in records if (event := decoded(COMMITTED, record)) is not None]
            await self.states.refresh()
            is_new = any(event.body.dataset_id == self.dataset_id for event in committed)
            if is_new or self._told_by(self.states.of_dataset(self.dataset_id)) != self._seen:
                return

    def _told_by(self, states: Sequence[RoundState]) -> tuple[object, ...]:
        return (awaited(states, self.model), is_busy(states, self.model))
