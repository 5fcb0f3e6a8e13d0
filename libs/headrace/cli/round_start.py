"""`headrace round start`: what a round is bound to, found and checked before it is asked for."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from headrace.cli.failures import CannotDo

if TYPE_CHECKING:  # clients cost most of a second that `headrace --help` need not pay
    from headrace.adapters.kafka.streams import RecordReader
    from headrace.core.policies import Policy
    from headrace.core.rounds.facts import RoundStarted
    from headrace.core.rounds.planning import Measuring
    from headrace.core.rounds.state import RoundState
    from headrace.core.versions import Version


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for; an empty version is the latest. `triton` is the model server's address, host:port.

    `check`: the chat endpoints are to be asked for one token each before the round begins. `anyway`: it begins, too, where
    what measures was not trained on the version.
    """

    dataset: str
    version: str
    model: str
    triton: str
    check: bool = True
    anyway: bool = False


async def begin(asked: Asked, wait_s: float) -> "RoundState":
    """Ask for the round, and wait for the state that answers.

    Raises:
        CannotDo: there is no such dataset, version or model, a round runs already, what measures was not trained on the version,
            a chat endpoint cannot be asked, or nobody answers in time.
        Stop: the model server or the object store is gone.
    """
    from headrace.adapters.kafka.streams import EventPublisher, RecordReader  # noqa: PLC0415
    from headrace.core.events import Send  # noqa: PLC0415
    from headrace.core.rounds.facts import RoundProgressed  # noqa: PLC0415
    from headrace.core.rounds.reasons import RoundReason  # noqa: PLC0415
    from headrace.core.topics import ROUND_PROGRESSED, ROUND_STATE  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    kafka = RuntimeSettings().kafka
    started = await _bound(asked)
    round_id = started.survey.round_id
    async with (
        EventPublisher(kafka, "headrace/cli") as publisher,
        RecordReader.opened(kafka, [ROUND_STATE.name], start="end") as reader,
    ):
        progressed = RoundProgressed(asked.dataset, round_id, started)
        await publisher.publish(Send(ROUND_PROGRESSED, progressed), event_id=f"start/{round_id}")
        try:
            async with asyncio.timeout(wait_s):
                state = await _state_of(reader, round_id)
        except TimeoutError:
            told = f"round {round_id} is asked for, and nobody answers within {wait_s:g} s"
            raise CannotDo(f"{told}: `headrace status` says whether the controller runs") from None
    if state.reason in {RoundReason.ANOTHER_ROUND_RUNS, RoundReason.BAD_RULES}:
        raise CannotDo(f"the round was not begun: {state.reason}: {state.detail}")
    return state


async def _bound(asked: Asked) -> "RoundStarted":
    from headrace.adapters.versions.store import NoSuchVersion  # noqa: PLC0415
    from headrace.cli.round_reading import read_states  # noqa: PLC0415
    from headrace.cli.version_reading import open_versions  # noqa: PLC0415
    from headrace.core.rounds.planning import planned, round_id_at  # noqa: PLC0415

    policy = await _policy(asked.dataset)
    running = next((state for state in (await read_states()).of_dataset(asked.dataset) if state.running), None)
    if running is not None:
        raise CannotDo(
            f"round {running.round_id} of {asked.dataset} is {running.phase}: one at a time; "
            f"`headrace round abort {asked.dataset}` ends it"
        )
    async with open_versions() as versions:
        try:
            version = await versions.version(asked.dataset, asked.version)
        except NoSuchVersion as error:
            raise CannotDo(f"{error}: `headrace dataset cut {asked.dataset}` makes one") from None
    measuring = await _measuring(asked, policy)
    amiss, advice = await _trained_otherwise(measuring, version, policy)
    if amiss and not asked.anyway:
        raise CannotDo(f"{amiss}: {advice}; or --anyway, which the round and its report tell of")
    if asked.check:
        await _check_endpoints(policy)
    now = time.time()
    measuring = replace(measuring, trained_otherwise=amiss)
    bound_to = (version.id, version.manifest.sequence, version.manifest.counts.accepted)
    return planned(policy, asked.dataset, round_id_at(now, uuid4().hex), bound_to, measuring, "headrace round start", now)


async def _trained_otherwise(measuring: "Measuring", version: "Version", policy: "Policy") -> tuple[str, str]:
    """Why what measures is not what was trained on the version, empty where it is; and what to do about it."""
    from headrace.adapters.kafka.streams import read_topic  # noqa: PLC0415
    from headrace.core.rounds.binding import is_trained_on, trained_otherwise  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_PUBLISHED  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    topic = read_topic(CHECKPOINT_PUBLISHED, RuntimeSettings().kafka, until_now=True)
    published = {event.body.checkpoint_id: event.body async for event in topic if event.body.model == measuring.model}
    dataset, rules = version.manifest.dataset, policy.training
    share, seed = rules.held_out_share, rules.held_out_seed
    measures = published.get(measuring.checkpoint_id)
    amiss = trained_otherwise(measuring.checkpoint_id, measures, dataset, version.id, share, seed)
    fit = [each for each in published.values() if is_trained_on(each, dataset, version.id, share, seed)]
    if fit:
        name = fit[-1].checkpoint_id[:12]
        told = f"`headrace checkpoint show {name}` tells what became of the one that was"
        advice = f"{told}, `headrace checkpoint rollback --to {name}` brings it back where it has measured before"
    else:
        number = version.manifest.sequence
        advice = f"`headrace train {dataset} --version {number}` trains it; `headrace checkpoint ls` tells when it measures"
    return amiss, advice


async def _check_endpoints(policy: "Policy") -> None:
    """A survey takes hours, and what mends its rows is asked only then: whether it can be is found out now."""
    from headrace.adapters.chat.checking import hindrances_of  # noqa: PLC0415
    from headrace.core.chat import ANSWERER, JUDGE, REFINER  # noqa: PLC0415

    roles = (REFINER, ANSWERER, *([JUDGE] if policy.rounds.gate().judge_rewrites else []))
    limited = [limit.role for limit in policy.rounds.budget.limits() if limit.money is not None]
    if found := await hindrances_of(roles, money_limited_in=roles if "" in limited else limited):
        raise CannotDo(f"{'; '.join(found)}; `--no-check` begins all the same, where refinement has other settings than this")


async def _policy(dataset: str) -> "Policy":
    from headrace.adapters.policies.published import PolicyTopics, policy_in, standing_policies  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    topics = PolicyTopics(settings.kafka, settings.partitions, settings.replication_factor, settings.kafka_start_s)
    standing = (await standing_policies(topics)).get(dataset)
    if standing is None:
        raise CannotDo(f"there is no dataset {dataset}: `headrace dataset create {dataset}` makes it")
    policy = policy_in(standing)
    if policy is None:
        raise CannotDo(f"the policy of {dataset} is of another release: publish it anew with `headrace policy apply`")
    return policy


async def _measuring(asked: Asked, policy: "Policy") -> "Measuring":
    """The announced version of the model, or the newest where none was ever announced; and its base."""
    from headrace.adapters.rounds.base_model import base_of  # noqa: PLC0415
    from headrace.adapters.triton.signals import TritonLimits, TritonSignalModels  # noqa: PLC0415
    from headrace.core.ports.signal_model import ModelMissing  # noqa: PLC0415
    from headrace.core.rounds.planning import Measuring  # noqa: PLC0415

    announced, first = await _announced()
    opened = TritonSignalModels.opened(
        asked.triton,
        model=asked.model,
        version="",
        limits=TritonLimits(),
        announced=lambda name: announced.get(name, ("", ""))[0] or None,
    )
    async with opened as models:
        try:
            await models.ping()
            version = (await models.current()).version
            base, base_version = await base_of(policy, asked.model, first.get(asked.model, version), models)
        except ModelMissing as missing:
            raise CannotDo(f"{missing}: load it, or name another with --model or the policy's signals.base_model") from None
    return Measuring(asked.model, version, announced.get(asked.model, ("", ""))[1], base, base_version)


async def _announced() -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Which version of each model measures, and the checkpoint it came from; and the first version that did."""
    from headrace.adapters.kafka.streams import read_topic  # noqa: PLC0415
    from headrace.core.topics import CHECKPOINT_ROLLED_OUT  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    found: dict[str, tuple[str, str]] = {}
    first: dict[str, str] = {}
    async for event in read_topic(CHECKPOINT_ROLLED_OUT, RuntimeSettings().kafka, until_now=True):
        found[event.body.model] = (event.body.model_version, event.body.checkpoint_id)
        first.setdefault(event.body.model, event.body.model_version)
    return found, first


async def _state_of(reader: "RecordReader", round_id: str) -> "RoundState":
    from headrace.adapters.kafka.streams import decoded  # noqa: PLC0415
    from headrace.core.rounds.state import RoundState  # noqa: PLC0415
    from headrace.core.topics import ROUND_STATE  # noqa: PLC0415

    async for record in reader:
        event = decoded(ROUND_STATE, record)
        if event is not None and isinstance(event.body, RoundState) and event.body.round_id == round_id:
            return event.body
    raise AssertionError("a topic that is followed does not end")
