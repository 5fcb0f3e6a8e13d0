"""Diversity's part in rounds: densities over a closed set, and the new embeddings of what was accepted before."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.core.dossiers import IndexedSample
from headrace.core.events import Emit, Event, Reject, Result, Retry, Send, no_policy
from headrace.core.policies import Policy
from headrace.core.ports.vector_index import AcceptedPoint, Content, Space, VectorIndex, Vectors
from headrace.core.rounds.facts import DensitiesMade, RoundProgressed
from headrace.core.rounds.pages import RowsMissing
from headrace.core.rounds.stored import BadRoundId
from headrace.core.rounds.surveys import DensityRequested, MeasuredSample, Purpose, RoundStepRequested
from headrace.core.topics import INDEXED, ROUND_PROGRESSED, ROUND_STEP_REQUESTED
from headrace.core.versions import DamagedVersion
from services.diversity.handlers import UnusableEmbeddings, unit_vector


class Densities(Protocol):
    """Makes and stores the densities of the next rows, as many as a slice of time allows.

    Raises RowsMissing, DamagedVersion, BadRoundId; Stop when the store is gone.
    """

    async def make(self, asked: DensityRequested) -> DensitiesMade: ...


class Surveying:
    """The handlers of one process. All they remember is in the index and the object store."""

    def __init__(self, index: VectorIndex, densities: Densities, policy_of: Callable[[str], Policy | None]) -> None:
        self._index = index
        self._densities = densities
        self._policy_of = policy_of

    async def take_step(self, events: Sequence[Event[RoundStepRequested]]) -> Sequence[Result]:
        """Make densities for a slice of time, and ask for the rest. Other steps are not ours.

        Raises:
            Stop: the object store is gone.
        """
        return [await self._step(event.body.step) for event in events]

    async def enter_measured(self, events: Sequence[Event[MeasuredSample]]) -> Sequence[Result]:
        """Enter what a round measured into the space of the model that measured it, and hand its embeddings on to datasets.

        What was retracted since the version was cut, or replaced by a later revision, stays out.

        Raises:
            Stop: the index is gone.
        """
        results: dict[int, Result] = {}
        points: dict[int, AcceptedPoint] = {}
        for number, event in enumerate(events):
            point = self._point(event.body)
            if isinstance(point, AcceptedPoint):
                points[number] = point
            else:
                results[number] = point
        by_space: defaultdict[Space, list[int]] = defaultdict(list)
        for number, point in points.items():
            by_space[point.space].append(number)
        for numbers in by_space.values():
            stands = await self._loaded([points[number] for number in numbers])
            for number, standing in zip(numbers, stands, strict=True):
                results[number] = standing if isinstance(standing, Reject) else _indexed(events[number].body, standing=standing)
        return [results[number] for number in range(len(events))]

    async def _step(self, step: object) -> Result:
        if not isinstance(step, DensityRequested):
            return Emit()
        survey = step.survey
        try:
            made = await self._densities.make(step)
        except RowsMissing as missing:
            return Retry("RowsMissing", str(missing))
        except (DamagedVersion, BadRoundId) as error:
            return Reject(type(error).__name__, str(error))
        said = Send(ROUND_PROGRESSED, RoundProgressed(survey.dataset_id, survey.round_id, made))
        if made.complete:
            return Emit((said,))
        following = DensityRequested(survey, step.first_row + made.rows, step.rows, step.neighbours)
        return Emit((said, Send(ROUND_STEP_REQUESTED, RoundStepRequested(following))))

    def _point(self, measured: MeasuredSample) -> AcceptedPoint | Result:
        embeddings = measured.embeddings
        if embeddings is None or measured.survey.purpose is not Purpose.ROUND:
            return Emit()
        if self._policy_of(measured.dataset_id) is None:
            return no_policy(measured.dataset_id)
        try:
            vectors = Vectors(unit_vector(embeddings.prompt, "prompt"), unit_vector(embeddings.conversation, "conversation"))
        except UnusableEmbeddings as error:
            return Reject("UnusableEmbeddings", str(error))
        space = Space(measured.dataset_id, embeddings.model, embeddings.model_version)
        content = Content(measured.content_hash, measured.prompt_hash)
        return AcceptedPoint(space, measured.sample_id, measured.revision, content, vectors)

    async def _loaded(self, points: Sequence[AcceptedPoint]) -> Sequence[bool | Reject]:
        """Whether each stands; where one does not fit the space, each is asked for alone."""
        try:
            return await self._index.load(points)
        except ValueError as error:
            if len(points) == 1:
                return [Reject("WrongDimensions", str(error))]
            return [(await self._loaded([point]))[0] for point in points]


def _indexed(measured: MeasuredSample, *, standing: bool) -> Emit:
    if not standing or measured.embeddings is None:
        return Emit()
    indexed = IndexedSample(
        measured.dataset_id,
        measured.sample_id,
        measured.revision,
        measured.content_hash,
        measured.embeddings,
        measured.prompt_hash,
    )
    return Emit((Send(INDEXED, indexed),))
