"""Puts diversity together."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from headrace.adapters.kafka.streams import BrokerUnreachable, KafkaError, RecordReader, decoded
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.rounds.density_blocks import DensityBlocks
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.scratch import scratch_folder
from headrace.adapters.vector_index import VectorIndexSettings, open_vector_index
from headrace.core.events import Event, Stop
from headrace.core.ports.object_store import ObjectStore
from headrace.core.ports.vector_index import VectorIndex
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.background import background
from headrace.runtime.service import Ping, Service
from services.diversity.handlers import Diversity, Pace
from services.diversity.retractions import Retracting
from services.diversity.settings import DiversitySettings
from services.diversity.subscribers import NAME, dead_letters, subscriptions
from services.diversity.surveying import Surveying

_log = logging.getLogger("headrace.diversity")
_AGAIN_S = 1.0
_WRITES_MAX = 6
"""So many collections a batch may have to wait for, one after the other, as a rule at most."""


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Diversity, ready to run on its index."""
    settings = DiversitySettings()
    if 2 * settings.density_slice_s > runtime.delivery.handler_s_max:
        raise CannotStart(
            f"HEADRACE_DIVERSITY_DENSITY_SLICE_S ({settings.density_slice_s:g}) must be at most half of "
            f"HEADRACE_DELIVERY_HANDLER_S_MAX ({runtime.delivery.handler_s_max:g}): else a step of a round loses its partition"
        )
    index_settings = VectorIndexSettings()
    if _WRITES_MAX * index_settings.build_wait_s_max > runtime.delivery.handler_s_max:
        raise CannotStart(
            f"HEADRACE_DIVERSITY_INDEX_BUILD_WAIT_S_MAX ({index_settings.build_wait_s_max:g}) must be at most a sixth of "
            f"HEADRACE_DELIVERY_HANDLER_S_MAX ({runtime.delivery.handler_s_max:g}): else a batch that waits loses its partition"
        )
    async with AsyncExitStack() as stack:
        try:
            index = await stack.enter_async_context(open_vector_index(index_settings))
        except OSError as error:
            raise CannotStart(f"the vector index cannot be opened: {error}") from error
        diversity = Diversity(index, runtime.policies.policy_of, Pace(settings.recheck_s, settings.looks_max))
        pings: dict[str, Ping] = {
            "policies": runtime.policies.ping,
            "vector index": index.ping,
            "dead letters": background(stack, _follow_dead_letters(diversity, runtime, settings), "following dead letters"),
            "sweep": background(stack, _sweep(index, settings), "sweeping the vector index"),
        }
        retracting = Retracting(index, runtime.policies.policy_of)
        folder = stack.enter_context(scratch_folder("surveys", settings.folder))
        densities = DensityBlocks(SurveyFiles(_Objects(stack), folder), settings.density_slice_s)
        surveying = Surveying(index, densities, runtime.policies.policy_of)
        yield Service(NAME, subscriptions(diversity, retracting, surveying, settings.batch_records_max), pings)


class _Objects:
    """The object store, opened for the first step of a round: placing samples needs none."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._opening = asyncio.Lock()
        self._opened: ObjectStore | None = None

    async def __call__(self) -> ObjectStore:
        async with self._opening:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(open_object_store(ObjectStoreSettings()))
            return self._opened


async def _follow_dead_letters(diversity: Diversity, runtime: Runtime, settings: DiversitySettings) -> None:
    """Releases the points of samples that ended among the dead letters, from the oldest that may still have one."""
    topics = {topic.name: topic for topic in dead_letters()}
    while True:
        try:
            async with RecordReader.opened(
                runtime.settings.kafka,
                list(topics),
                start_s=runtime.settings.kafka_start_s,
                large_bodies=runtime.large_bodies,
            ) as reader:
                async for record in reader:
                    is_recent = record.timestamp / 1000 > time.time() - settings.pending_s_max
                    event = decoded(topics[record.topic], record) if is_recent else None
                    if event is not None:
                        await _released(diversity, event)
        except (BrokerUnreachable, KafkaError, Stop) as error:
            _log.warning("dead letters cannot be followed, again in %g s: %s", _AGAIN_S, error)
            await asyncio.sleep(_AGAIN_S)


async def _released(diversity: Diversity, event: Event[Any]) -> None:
    while True:
        try:
            await diversity.release([event])
        except Stop as stop:
            _log.warning("a dead letter's point cannot be released, again in %g s: %s", _AGAIN_S, stop)
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def _sweep(index: VectorIndex, settings: DiversitySettings) -> None:
    """Forgets what has served its time. Every replica does: sweeping twice is sweeping once."""
    while True:
        now = time.time()
        try:
            gone = await index.sweep(settled_before=now - settings.settled_s_kept, entered_before=now - settings.pending_s_max)
        except Stop as stop:
            _log.warning("the vector index is not swept: %s", stop)
        else:
            if gone:
                _log.warning(
                    "%d pending points older than HEADRACE_DIVERSITY_PENDING_S_MAX (%g s) left the index",
                    gone,
                    settings.pending_s_max,
                )
        await asyncio.sleep(settings.sweep_s)
