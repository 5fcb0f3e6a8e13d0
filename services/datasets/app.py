"""Puts datasets together."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from headrace.adapters.kafka.catch_up import caught_up
from headrace.adapters.kafka.streams import BrokerUnreachable, EventPublisher, KafkaError
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.rounds.calibrations_due import CalibrationsDue
from headrace.adapters.rounds.evictions import Evictions
from headrace.adapters.rounds.measured_rows import MeasuredRows
from headrace.adapters.rounds.refining_pages import RefiningPages
from headrace.adapters.rounds.reverting_pages import RevertingPages
from headrace.adapters.rounds.round_states import RoundStates
from headrace.adapters.rounds.shard_files import ShardFiles
from headrace.adapters.rounds.survey_files import SurveyFiles
from headrace.adapters.rounds.survey_pages import SurveyPages
from headrace.adapters.scratch import scratch_folder
from headrace.adapters.versions.cut import VersionCutter
from headrace.core.events import Send, Stop
from headrace.core.ports.object_store import ObjectStore, UnsuitableStore
from headrace.core.rounds.planning import is_changing
from headrace.core.topics import CUT_REQUESTED, DECIDED, RETRACTION_REQUESTED
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.background import background
from headrace.runtime.policies import PolicyBook
from headrace.runtime.service import Ping, Service
from headrace.runtime.telemetry import Attribute, Metric, Telemetry
from services.datasets.handlers import Datasets, due_by_policy, pace
from services.datasets.settings import DatasetsSettings
from services.datasets.subscribers import NAME, subscriptions
from services.datasets.surveying import Surveying

_log = logging.getLogger("headrace.datasets")


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Datasets, ready to run, on a store that has proved its conditional writes."""
    settings = DatasetsSettings()
    policies = runtime.policies
    async with (
        open_object_store(ObjectStoreSettings(), patient=True) as objects,
        EventPublisher(runtime.settings.kafka, f"headrace/{NAME}", start_s=runtime.settings.kafka_start_s) as publisher,
        RoundStates.opened(runtime.settings.kafka, start_s=runtime.settings.kafka_start_s) as states,
        AsyncExitStack() as stack,
    ):
        try:
            await objects.require_conditional_writes()
        except UnsuitableStore as error:
            raise CannotStart(str(error)) from error
        cutter = VersionCutter(objects, settings.cut_settings())
        datasets = Datasets(
            staging=cutter.staging,
            cutter=cutter,
            policy_of=policies.policy_of,
            measures=_Measured(runtime.telemetry),
            settle=_Settle(runtime.settings.kafka, settings.settle_s_max),
            calibrations=CalibrationsDue(cutter.versions, cutter.staging),
            pace_s=settings.pace_s,
            round_of=partial(_changing, states),
        )
        folder = stack.enter_context(scratch_folder("rounds", settings.folder))
        surveying = _surveying(cutter, objects, datasets, settings, folder)
        pings: dict[str, Ping] = {
            "object store": objects.ping,
            "policies": policies.ping,
            "tick": background(stack, _tick(policies, datasets, publisher, settings), "cutting versions by policy"),
        }
        yield Service(NAME, subscriptions(datasets, surveying, settings.batch_records_max), pings)


def _surveying(
    cutter: VersionCutter, objects: ObjectStore, datasets: Datasets, settings: DatasetsSettings, folder: Path
) -> Surveying:
    """What steps of rounds need. What they keep in the folder is lost with the process, and fetched anew by its successor."""

    async def opened() -> ObjectStore:
        return objects

    shard_folder, survey_folder = folder / "shards", folder / "surveys"
    shard_folder.mkdir()
    survey_folder.mkdir()
    shards = ShardFiles(cutter.versions, shard_folder, settings.survey_shards_bytes_max)
    surveys = SurveyFiles(opened, survey_folder)
    return Surveying(
        pages=SurveyPages(cutter.versions, shards, surveys, settings.page_limits()),
        refining=RefiningPages(cutter.versions, shards, surveys, settings.hint_chars_max),
        evictions=Evictions(surveys, settings.eviction_rows_max, settings.evictions_max),
        reverting=RevertingPages(cutter.versions, shards, settings.page_limits()),
        measured=MeasuredRows(objects),
        policy_of=datasets.policy_of,
        staged=partial(datasets.measures.staged, {}),
        pace=partial(pace, datasets=datasets),
    )


async def _tick(policies: PolicyBook, datasets: Datasets, publisher: EventPublisher, settings: DatasetsSettings) -> None:
    """Ask for versions whose time has come. Every replica does: the request that comes second finds nothing to do."""
    asked: dict[str, float] = {}
    while True:
        await asyncio.sleep(settings.tick_s)
        try:
            requests = await due_by_policy(dict(policies.policies), datasets, time.time())
            due = {f"{request.dataset_id}/{request.request_id}": request for request in requests}
            now = time.monotonic()
            asked = {event_id: at for event_id, at in asked.items() if event_id in due and now - at < settings.ask_again_s}
            for event_id, request in due.items():
                if event_id not in asked:
                    await publisher.publish(Send(CUT_REQUESTED, request), event_id=event_id)
                    asked[event_id] = now
        except (Stop, KafkaError) as error:
            _log.warning("cannot look for versions that are due: %s", error)


async def _changing(states: RoundStates, dataset_id: str) -> str:
    """The round that is changing a dataset. Raises Stop where the broker does not answer."""
    await states.refresh()
    return next((state.round_id for state in states.of_dataset(dataset_id) if is_changing(state)), "")


class _Settle:
    """Waits until what was decided or taken back before a request is staged, so that the version it asks for knows it."""

    def __init__(self, bootstrap: str, wait_s: float) -> None:
        self._bootstrap = bootstrap
        self._wait_s = wait_s

    async def __call__(self) -> None:
        try:
            for topic in (DECIDED, RETRACTION_REQUESTED):
                if not await caught_up(self._bootstrap, topic, NAME, wait_s=self._wait_s):
                    _log.warning("a version is cut without what %s still holds (HEADRACE_DATASETS_SETTLE_S_MAX)", topic.name)
        except (KafkaError, BrokerUnreachable) as error:
            raise Stop(f"cannot tell whether all decisions are staged: {error}") from error


class _Measured:
    """Tells telemetry what was staged and cut."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def staged(self, rows: Mapping[str, int], size_bytes: int) -> None:
        for verdict, count in rows.items():
            self._telemetry.count(Metric.DATASETS_ROWS, count, {Attribute.VERDICT: verdict})
        self._telemetry.count(Metric.DATASETS_STAGED_BYTES, size_bytes)

    def cut(self, dataset_id: str, *, new: bool, seconds: float) -> None:
        if new:
            self._telemetry.count(Metric.DATASETS_VERSIONS, 1, {Attribute.DATASET: dataset_id})
        outcome = {Attribute.OUTCOME: "new" if new else "nothing_new"}
        self._telemetry.record(Metric.DATASETS_CUT_DURATION, seconds, outcome)
        self._telemetry.called("cut version", seconds, outcome)
