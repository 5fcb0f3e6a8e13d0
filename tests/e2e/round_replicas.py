"""A survey measured by two scoring processes: who reads which rows, and what the survey comes to."""

import asyncio
import json
from collections import Counter
from contextlib import aclosing, closing

from kafka import KafkaAdminClient

from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import open_object_store
from headrace.core.rounds.state import RoundState
from headrace.core.rounds.stored import selection_key, signals_key, thresholds_key
from headrace.core.topics import SURVEYED, consumer_group_id
from tests.e2e.round_cases import done, until
from tests.e2e.spine import Spine

_OBJECT_BYTES_MAX = 1 << 20


def shares(spine: Spine) -> list[set[int]]:
    """The partitions of the rows to be measured that each scoring process reads."""
    group = consumer_group_id(SURVEYED.name, "scoring")
    with closing(KafkaAdminClient(bootstrap_servers=spine.environment["HEADRACE_KAFKA"])) as admin:
        members = admin.describe_groups([group])[group]["members"]
    assigned = [each["member_assignment"]["assigned_partitions"] for each in members]
    return [{number for each in topics if each["topic"] == SURVEYED.name for number in each["partitions"]} for topics in assigned]


def survey_again(spine: Spine, dataset: str) -> RoundState:
    """The end of another round on the dataset's first version, which the dataset's policy lets end with its selection."""
    begun = json.loads(done(spine, "round", "start", dataset, "--version", "1", "--anyway", "--json"))
    return until(spine, dataset, begun["round_id"], lambda state: not state.running)


def rows_by_partition(spine: Spine, round_id: str) -> Counter[int]:
    """How many rows of the round lie in each partition of those that are to be measured."""

    async def read() -> Counter[int]:
        async with aclosing(read_topic(SURVEYED, spine.environment["HEADRACE_KAFKA"], until_now=True)) as events:
            return Counter([event.position.partition async for event in events if event.body.survey.round_id == round_id])

    return asyncio.run(read())


def objects_of(spine: Spine, state: RoundState) -> list[bytes]:
    """The survey's signal table, thresholds and selection, byte for byte."""

    async def read() -> list[bytes]:
        keys = [key(state.begun.survey) for key in (signals_key, thresholds_key, selection_key)]
        async with open_object_store(spine.store_settings()) as objects:
            return [(await objects.get(key, bytes_max=_OBJECT_BYTES_MAX)).body for key in keys]

    return asyncio.run(read())
