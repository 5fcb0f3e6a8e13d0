"""Puts controller together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.adapters.checkpoints.store import CheckpointLimits, CheckpointStore
from headrace.adapters.checkpoints.weights import Assembler
from headrace.adapters.kafka.catch_up import caught_up
from headrace.adapters.kafka.streams import BrokerUnreachable, EventPublisher, KafkaError, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.policies.published import PolicyTopics, policy_in, standing_policies
from headrace.adapters.rounds.base_model import base_of
from headrace.adapters.rounds.calibration import Calibrations
from headrace.adapters.rounds.dead_letters import dead_letters
from headrace.adapters.rounds.report.storing import store_report
from headrace.adapters.rounds.round_selection import RoundSelections
from headrace.adapters.rounds.round_states import RoundStates
from headrace.adapters.rounds.selection_scan import ScanLimits
from headrace.adapters.triton.control import TritonControl
from headrace.adapters.triton.model_repository import ModelRepository
from headrace.adapters.triton.signals import TritonLimits, TritonSignalModels
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire.envelope import derived_id
from headrace.core.checkpoints import CheckpointPublished, CheckpointRolledOut
from headrace.core.events import Send, Stop
from headrace.core.intake import IntakeLimits, Refused, parse_line
from headrace.core.policies import Policy
from headrace.core.ports.object_store import ObjectStore
from headrace.core.ports.signal_model import ModelMissing
from headrace.core.roll_out import RollOuts
from headrace.core.rounds.binding import holds_out_too_little, whole_version_of
from headrace.core.rounds.facts import RoundStarted
from headrace.core.rounds.moves import Limits
from headrace.core.rounds.planning import Measuring, bound_versions, kept_bases, planned, round_id_at
from headrace.core.samples import Sample
from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_ROLLED_OUT, DECIDED, ROUND_STATE
from headrace.runtime.app import CannotStart, Runtime
from headrace.runtime.background import background
from headrace.runtime.service import Ping, Service
from headrace.runtime.settings import DeliverySettings
from headrace.runtime.steady_clock import SteadyClock
from services.controller.handlers import Controller
from services.controller.letters import tell_rounds
from services.controller.reporting import Reporting
from services.controller.rounds import Rounds
from services.controller.settings import ControllerSettings
from services.controller.standing import READS_MAX, Standing
from services.controller.steps import Steps
from services.controller.subscribers import NAME, subscriptions
from services.controller.turns import Turns

_log = logging.getLogger("headrace.controller")
_GOLDEN = Path(__file__).parent / "golden.jsonl"
_GOLDEN_BYTES_MAX = 1024 * 1024
_VISIBLE_S = 5.0
"""How long an announcement may take to be seen once its transaction has ended."""
_STAGES = "datasets"
"""Who lays decisions into the staging area."""


@asynccontextmanager
async def open_service(runtime: Runtime) -> AsyncIterator[Service]:
    """Controller, ready to run; without a model repository it rolls nothing out, and says so."""
    settings = ControllerSettings()
    _require_time(settings, runtime.delivery)
    async with AsyncExitStack() as stack:
        objects = await stack.enter_async_context(open_object_store(ObjectStoreSettings(), patient=True))
        limits = TritonLimits(deadline_s=settings.golden_s_max)
        models = await stack.enter_async_context(
            TritonSignalModels.opened(
                settings.triton, model="", version="", limits=limits, announced=runtime.roll_outs.version_of
            )
        )
        publisher = await stack.enter_async_context(
            EventPublisher(runtime.settings.kafka, f"headrace/{NAME}", start_s=runtime.settings.kafka_start_s)
        )
        states = await stack.enter_async_context(
            RoundStates.opened(runtime.settings.kafka, start_s=runtime.settings.kafka_start_s)
        )
        pings: dict[str, Ping] = {"kafka": publisher.ping, "object store": objects.ping, "policies": runtime.policies.ping}
        steps: Steps | None = None
        turns: Turns | None = None
        visible_s = runtime.delivery.transaction_timeout_ms / 1000 + _VISIBLE_S
        if settings.model_repository is not None:
            server = TritonControl(models)
            steps = _steps(settings, settings.model_repository, objects, server)
            pings["triton"] = server.ping
            turns = Turns(
                settings.model_repository,
                settings.turn_s_max,
                partial(_until_visible, runtime.settings.kafka, visible_s),
            )
            stack.push_async_callback(turns.close)
        controller = Controller(
            history=partial(_history, runtime),
            announce_first=partial(_announce_first, publisher),
            event_id_of=lambda event_id: derived_id(event_id, CHECKPOINT_ROLLED_OUT.name, 0),
            steps=steps,
            turns=turns,
            bound=partial(_bound, runtime, states),
        )
        clock = SteadyClock()
        rounds = Rounds(
            states=states,
            selections=RoundSelections(objects, settings.folder, ScanLimits(settings.selection_rows_held_max)),
            policy_of=runtime.policies.policy_of,
            published=partial(_published, runtime),
            begins=_Begins(runtime, VersionStore(objects), models, clock),
            event_id_of=lambda event_id, place: derived_id(event_id, ROUND_STATE.name, place),
            visible_s=visible_s,
            clock=clock,
            limits=Limits(settings.round_page_rows, settings.round_tick_s),
        )
        pings["dead letters"] = background(stack, _follow_letters(runtime, states, publisher), "telling rounds of dead letters")
        settle = partial(_settle, runtime.settings.kafka, settings.report_wait_s)
        reporting = Reporting(states, partial(store_report, objects, folder=settings.folder), settle)
        yield Service(NAME, subscriptions(controller, rounds, _standing(settings, runtime, objects), reporting), pings)


def _standing(settings: ControllerSettings, runtime: Runtime, objects: ObjectStore) -> Standing:
    return Standing(
        policy_of=runtime.policies.policy_of,
        policy_now=partial(_policy_now, runtime),
        announced=runtime.roll_outs.version_of,
        calibrate=Calibrations(VersionStore(objects), settings.calibration_s_max).calibrate,
    )


def _steps(settings: ControllerSettings, root: Path, objects: ObjectStore, server: TritonControl) -> Steps:
    _require_folder(root)
    samples = _golden_samples(settings.golden or _GOLDEN)
    checkpoints, repository = CheckpointLimits(), ModelRepository(root)
    assembler = Assembler(repository, checkpoints)
    return Steps(repository, server, CheckpointStore(objects, checkpoints), assembler, samples, settings)


async def _follow_letters(runtime: Runtime, states: RoundStates, publisher: EventPublisher) -> None:
    async def publish(send: Send, event_id: str) -> None:
        await publisher.publish(send, event_id=event_id)

    await tell_rounds(partial(dead_letters, runtime.settings.kafka, runtime.large_bodies), states, publish)


async def _bound(runtime: Runtime, states: RoundStates, model: str) -> frozenset[int]:
    """The versions that running rounds measure with, and those that the next ones will have as their base."""
    await states.refresh()
    return bound_versions(states.running(), model) | kept_bases(states.known(), runtime.policies.policy_of, model)


async def _settle(kafka: str, wait_s: float) -> None:
    """Waits until what was decided so far is staged."""
    try:
        if not await caught_up(kafka, DECIDED, _STAGES, wait_s=wait_s):
            _log.warning("a report is written while decisions are not staged yet (HEADRACE_CONTROLLER_REPORT_WAIT_S)")
    except (KafkaError, BrokerUnreachable) as error:
        raise Stop(f"cannot tell whether all decisions are staged: {error}") from error


async def _published(runtime: Runtime, model: str, checkpoint_id: str) -> CheckpointPublished | None:
    return (await _history(runtime, model)).published.get(checkpoint_id)


async def _policy_now(runtime: Runtime, dataset_id: str) -> Policy | None:
    """The dataset's policy as it stands at this moment: the one that is followed may be a moment behind."""
    settings = runtime.settings
    topics = PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)
    try:
        found = (await standing_policies(topics)).get(dataset_id)
    except (BrokerUnreachable, KafkaError) as error:
        raise Stop(f"the policies cannot be read: {error}") from error
    return policy_in(found) if found is not None else None


@dataclass(frozen=True, slots=True)
class _Begins:
    """Begins a round where a checkpoint measures that was trained on a dataset's latest version, and the policy says so.

    What measures is by construction what was trained on the round's version: `published` is what was just rolled out.
    """

    runtime: Runtime
    versions: VersionStore
    models: TritonSignalModels
    clock: SteadyClock

    async def __call__(self, published: CheckpointPublished, model_version: str, event_id: str) -> RoundStarted | None:
        dataset_id, policy = published.data.dataset_id, self.runtime.policies.policy_of(published.data.dataset_id)
        if policy is None or policy.rounds.start != "checkpoint":
            return None
        latest = await self.versions.latest(dataset_id)
        if latest is None or latest.id != whole_version_of(published.data):
            return None
        rules = policy.training
        if amiss := holds_out_too_little(published.data, rules.held_out_share, rules.held_out_seed):
            _log.warning("no round of %s begins with checkpoint %s: %s", dataset_id, published.checkpoint_id[:12], amiss)
            return None
        first = next(iter((await _history(self.runtime, published.model)).checkpoints), model_version)
        try:
            base, base_version = await base_of(policy, published.model, first, self.models)
            measuring = Measuring(published.model, model_version, published.checkpoint_id, base, base_version)
            now = self.clock()
            version = (latest.id, latest.manifest.sequence, latest.manifest.counts.accepted)
            by = f"checkpoint {published.checkpoint_id[:12]}"
            return planned(policy, dataset_id, round_id_at(now, event_id), version, measuring, by, now)
        except (ModelMissing, ValueError) as error:
            _log.warning("no round of %s begins with checkpoint %s: %s", dataset_id, published.checkpoint_id[:12], error)
            return None


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise CannotStart(f"{root} (HEADRACE_CONTROLLER_MODEL_REPOSITORY) is no folder")


def _require_time(settings: ControllerSettings, delivery: DeliverySettings) -> None:
    if settings.roll_out_s_max >= delivery.handler_s_max:
        raise CannotStart(
            f"a roll-out may take {settings.roll_out_s_max:g} s (HEADRACE_CONTROLLER_TURN_S_MAX, _FETCH_S_MAX, _LOAD_S_MAX, "
            f"_UNLOAD_S_MAX and twice _GOLDEN_S_MAX): that must be below HEADRACE_DELIVERY_HANDLER_S_MAX "
            f"({delivery.handler_s_max:g})"
        )
    if settings.report_wait_s >= delivery.handler_s_max:
        raise CannotStart(
            f"{settings.report_wait_s:g} s (HEADRACE_CONTROLLER_REPORT_WAIT_S) must be below HEADRACE_DELIVERY_HANDLER_S_MAX "
            f"({delivery.handler_s_max:g})"
        )
    if READS_MAX * settings.calibration_s_max >= delivery.handler_s_max:
        raise CannotStart(
            f"{settings.calibration_s_max:g} s (HEADRACE_CONTROLLER_CALIBRATION_S_MAX), {READS_MAX} times, must be below "
            f"HEADRACE_DELIVERY_HANDLER_S_MAX ({delivery.handler_s_max:g})"
        )


def _golden_samples(path: Path) -> tuple[Sample, ...]:
    try:
        if path.stat().st_size > _GOLDEN_BYTES_MAX:
            raise CannotStart(f"{path} (HEADRACE_CONTROLLER_GOLDEN) is longer than {_GOLDEN_BYTES_MAX} bytes")
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        samples = tuple(parse_line(line, "golden", IntakeLimits(), NAME) for line in lines)
    except (OSError, Refused) as error:
        raise CannotStart(f"{path} (HEADRACE_CONTROLLER_GOLDEN): {error}") from error
    if not samples:
        raise CannotStart(f"{path} (HEADRACE_CONTROLLER_GOLDEN) holds no conversation")
    return samples


async def _history(runtime: Runtime, model: str) -> RollOuts:
    """What became of the model's checkpoints, read anew: a record for each checkpoint, and none for a sample."""
    history = RollOuts()
    try:
        for topic in (CHECKPOINT_PUBLISHED, CHECKPOINT_ROLLED_OUT):
            told = read_topic(topic, runtime.settings.kafka, until_now=True, large_bodies=runtime.large_bodies)
            async with aclosing(told) as events:
                async for event in events:
                    if event.body.model == model:
                        history.take(event.body)
    except (BrokerUnreachable, KafkaError) as error:
        raise Stop(f"the roll-outs so far cannot be read: {error}") from error
    return history


async def _announce_first(publisher: EventPublisher, told: CheckpointRolledOut) -> None:
    try:
        await publisher.publish(Send(CHECKPOINT_ROLLED_OUT, told), event_id=f"{told.model}/{told.model_version}/first")
    except KafkaError as error:
        raise Stop(f"the version at hand cannot be announced: {error}") from error


async def _until_visible(kafka: str, within_s: float, event_id: str) -> None:
    """Returns once the announcement can be read, or after a time in which its transaction must have ended either way."""
    try:
        async with asyncio.timeout(within_s), aclosing(read_topic(CHECKPOINT_ROLLED_OUT, kafka)) as events:
            async for event in events:
                if event.id == event_id:
                    return
    except (TimeoutError, BrokerUnreachable, KafkaError) as error:
        _log.warning("the announcement %s is not seen, so its roll-out may be done again: %r", event_id, error)
