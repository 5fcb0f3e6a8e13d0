"""What a checkpoint has seen, read again from a real broker and a real S3 server: neither more nor less than was read."""

import hashlib
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from datasets.distributed import split_dataset_by_node

from headrace.client import as_iterable_dataset, data_of, subscribe
from headrace.client.seen_samples import Seen, seen_rows
from headrace.core.checkpoints import CheckpointKind, CheckpointPublished, TrainingData
from headrace.core.dossiers import Retraction
from headrace.core.topics import accepted_topic
from tests.fakes.accepted_topics import accepted, publish
from tests.integration.test_subscribe_versions import World

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

NAMES = [f"s{number:02}" for number in range(30)]


@pytest.fixture
def world(kafka, s3, tmp_path) -> World:
    return World(kafka, s3, tmp_path)


async def seen(world: World, data: TrainingData) -> tuple[list[Seen], list[str]]:
    """What a checkpoint of this data has seen, in order, and what is said to be missing."""
    gaps: list[str] = []
    digest = hashlib.sha256(b"weights").hexdigest()
    published = CheckpointPublished("signals", digest, "key", CheckpointKind.FULL, (), "base", digest, data, 0.0)
    rows = [row async for row in seen_rows(published, kafka=world.kafka, store=world.store, tell=gaps.append)]
    return sorted(rows), gaps


async def test_a_run_that_began_now_has_seen_what_came_since(world):
    """And a second one, of its own, what came behind the first one's token."""
    await publish(world.kafka, world.dataset, accepted(world.dataset, NAMES))
    with subscribe(world.dataset, start="now", kafka=world.kafka, store=world.store) as first:
        taking = iter(first)
        first.fetched()
        await publish(world.kafka, world.dataset, accepted(world.dataset, ["one"]))
        assert next(taking).sample_id == "one"
        token = str(first.position)
    assert await seen(world, data_of(token)) == ([Seen("one", 0)], [])
    await publish(world.kafka, world.dataset, accepted(world.dataset, ["two"]))
    with subscribe(world.dataset, start=token, follow=False, kafka=world.kafka, store=world.store) as second:
        assert [item.sample_id for item in second] == ["two"]
    assert await seen(world, data_of(str(second.position))) == ([Seen("one", 0), Seen("two", 0)], [])
    assert await seen(world, data_of(str(second.position), since=token)) == ([Seen("two", 0)], [])


@pytest.mark.parametrize(("parts", "taken"), [(1, 3), (2, 11), (5, 1000)])
async def test_an_iterable_dataset_names_the_rows_it_has_read(world, parts, taken):
    """Stopped within the version or behind it, in several parts, which need not be equally far: exactly the rows they gave."""
    rows = accepted(world.dataset, NAMES)
    await publish(world.kafka, world.dataset, rows)
    await world.cut(rows, 1_000.0)
    await publish(world.kafka, world.dataset, accepted(world.dataset, ["later", "last"]))
    stream = as_iterable_dataset(
        world.dataset, start="latest", follow=False, kafka=world.kafka, store=world.store, ranks=parts
    ).select_columns(["sample_id", "revision"])
    given, states = [], []
    for rank in range(parts):
        part = split_dataset_by_node(stream, rank=rank, world_size=parts) if parts > 1 else stream
        for count, row in enumerate(part, 1):
            given.append(Seen(row["sample_id"], row["revision"]))
            if count >= taken and rank % 2 == 0:
                break
        states.append(part.state_dict())
    for streamed in (True, False):
        assert await seen(world, data_of(states, streamed=streamed)) == (sorted(given), [])


async def test_what_was_seen_stays_listed_where_training_followed_the_stream(world):
    """Taken back or replaced later, it is marked; where all was read before training, what stood at the end counts."""
    await publish(world.kafka, world.dataset, accepted(world.dataset, ["a", "b", "c"]))
    with subscribe(world.dataset, follow=False, kafka=world.kafka, store=world.store) as subscription:
        assert len(list(subscription)) == 3
    await publish(world.kafka, world.dataset, [Retraction(world.dataset, "a", 0, "privacy")])
    await publish(world.kafka, world.dataset, accepted(world.dataset, ["b"], 2))
    data = data_of(str(subscription.position), streamed=True)
    expected = [Seen("a", 0, "retracted since"), Seen("b", 0, "revision 0 of 2"), Seen("c", 0)]
    assert await seen(world, data) == (expected, [])
    assert await seen(world, replace(data, streamed=False)) == ([Seen("a", 0), Seen("b", 0), Seen("c", 0)], [])


async def test_records_that_were_deleted_are_stated(world):
    """A list that is short says so, and which records it lacks."""
    await publish(world.kafka, world.dataset, accepted(world.dataset, NAMES))
    with subscribe(world.dataset, follow=False, kafka=world.kafka, store=world.store) as subscription:
        list(subscription)
    topic = accepted_topic(world.dataset).name
    admin = AdminClient({"bootstrap.servers": world.kafka})
    for deleted in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        deleted.result()
    rows, gaps = await seen(world, data_of(str(subscription.position)))
    assert len(rows) == len(NAMES) - 2
    assert gaps == [f"{topic}[0]: records 0 to 1 were deleted since: the samples in them are not listed"]
