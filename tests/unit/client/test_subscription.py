"""What `subscribe` refuses before it connects, and how an iterator keeps its place."""

import asyncio

import pytest

from headrace.adapters.wire.events import encode
from headrace.adapters.wire.fields import Undecodable
from headrace.client import Accepted, BadPosition, Retracted, SubscribeLimits, subscribe
from headrace.client.accepted import accepted_from, item_from
from headrace.client.chunks import Chunk
from headrace.client.limits import ClientSettings
from headrace.core.dossiers import AcceptedSample, Retraction
from headrace.core.positions import Position, position_from
from headrace.core.samples import prompt_hash_of
from tests.fakes.bodies import DOSSIER, SAMPLE
from tests.fakes.decisions import dossier


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ({"dataset": "../etc"}, ValueError, "lower-case"),
        ({"dataset": "notes", "share": (2, 2)}, ValueError, "share"),
        ({"dataset": "notes", "start": Position("other").token()}, BadPosition, "belongs to dataset other"),
        ({"dataset": "notes", "start": Position("notes").token()[:-1]}, BadPosition, "cut off"),
    ],
)
def test_what_is_impossible_is_refused_at_once(asked, error, told):
    """Not at the first read, hours into a job's queue."""
    with pytest.raises(error, match=told):
        subscribe(**asked)


@pytest.mark.parametrize("limits", [{"prefetch_rows": 0}, {"prefetch_bytes": 0}, {"patience_s": 0}, {"clocks_within_s": -1}])
def test_limits_are_positive(limits):
    """Nothing is unbounded by mistake."""
    with pytest.raises(ValueError, match="positive"):
        SubscribeLimits(**limits)


def test_the_environment_says_where_and_how_many(monkeypatch):
    """The broker, and the ranks that torchrun started."""
    monkeypatch.setenv("HEADRACE_KAFKA", "broker:9092")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert (ClientSettings().kafka, ClientSettings().world_size) == ("broker:9092", 8)


def items(*names: str) -> list[Accepted | Retracted]:
    return [Retracted(name, 0, "privacy") for name in names]


async def test_the_position_is_behind_what_was_handed_out_and_no_further():
    """Read ahead is not handed out; a chunk's end counts once all of it was."""

    async def chunks():
        yield Chunk(version="9f" * 32)
        yield Chunk(items("a", "b"), [(~1, 1), (~1, 2)], {~1: 2})
        yield Chunk(after={0: 5, 1: 7}, until={0: 6, 1: 7})
        yield Chunk(items("c", "d"), [(0, 6), (1, 9)], {0: 8, 1: 9})

    subscription = subscribe("notes")
    subscription._stream.chunks = chunks  # type: ignore[method-assign]
    places = []
    async for item in subscription:
        reached = subscription.reached
        assert reached is not None
        assert position_from(reached.token(), "notes") == reached
        places.append((item.sample_id, reached.shard, reached.row, dict(reached.offsets), dict(reached.until)))
    assert places == [
        ("a", 1, 1, {}, {}),
        ("b", 1, 2, {}, {}),
        ("c", 1, 2, {0: 6, 1: 7}, {}),
        ("d", 1, 2, {0: 6, 1: 9}, {}),
    ]
    assert subscription.reached == Position(
        "notes", (0, 1), "9f" * 32, 1, 2, {0: 8, 1: 9}, {}, since={0: 5, 1: 7}, repeats={0: 6, 1: 7}
    )
    assert await anext(subscription, None) is None


async def test_the_next_chunk_is_begun_before_the_first_item_is_handed_out():
    """Someone who computes, and never comes back to the loop between two items, finds it read."""
    begun = []

    async def chunks():
        for number in range(3):
            begun.append(number)
            yield Chunk(parts=iter([Chunk(items("a", "b"), [(number, 1), (number, 2)])]))

    subscription = subscribe("notes")
    subscription._stream.chunks = chunks  # type: ignore[method-assign]
    seen = [[*begun] async for _ in subscription]
    assert seen == [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("turns", range(12))
async def test_who_stops_waiting_loses_nothing(turns):
    """At whatever instant: the item that was not handed out is the next one."""

    async def chunks():
        for name in "ab":
            await asyncio.sleep(0)
            yield Chunk(items(name), [(0, ord(name))])

    subscription = subscribe("notes")
    subscription._stream.chunks = chunks  # type: ignore[method-assign]
    waiting = asyncio.ensure_future(anext(subscription))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    [came] = await asyncio.gather(waiting, return_exceptions=True)
    seen = [] if isinstance(came, BaseException) else [came.sample_id]
    seen += [item.sample_id async for item in subscription]
    assert seen == ["a", "b"]


def test_an_error_closes_it_and_leaves_the_position():
    """A new one goes on from there; this one is at its end."""

    async def chunks():
        yield Chunk(items("a"), [(0, 1)], {0: 1})
        raise ConnectionError("gone")

    subscription = subscribe("notes")
    subscription._stream.chunks = chunks  # type: ignore[method-assign]
    assert next(subscription).sample_id == "a"
    with pytest.raises(ConnectionError):
        next(subscription)
    assert list(subscription) == []
    assert position_from(subscription.position or "").offsets == {0: 1}


def test_items_are_what_the_topic_says():
    """Acceptances with everything known, retractions with their reason."""
    item = item_from(encode(AcceptedSample(DOSSIER)))
    assert isinstance(item, Accepted)
    assert (item.sample, item.dossier) == (SAMPLE, DOSSIER)
    assert item.messages[2]["tool_calls"][0]["function"] == {"name": "multiply", "arguments": '{"a": 6, "b": 7}'}
    assert item.row()["metadata"] == {"row": 17}
    assert item.row()["tools"][0]["type"] == "function"
    assert item.row()["prompt_hash"] == item.prompt_hash == prompt_hash_of(SAMPLE)
    assert item_from(encode(AcceptedSample(Retraction("notes", "a", 2, "privacy")))) == Retracted("a", 2, "privacy")


def test_a_row_and_a_record_are_the_same_item():
    """Wherever a sample comes from, a trainer sees the same."""
    row, record = accepted_from(encode(dossier("a"))), item_from(encode(AcceptedSample(dossier("a"))))
    late = Accepted("a", 0, encode(dossier("a")))
    assert isinstance(record, Accepted)
    assert row.row() == record.row() == late.row()
    assert late.wire is late.wire


@pytest.mark.parametrize("value", [b"", b"\xff\xff", encode(dossier("a"))[:20]])
def test_other_bytes_are_refused(value):
    """Neither acceptance nor retraction, or cut off."""
    with pytest.raises(Undecodable):
        item_from(value)
    with pytest.raises(Undecodable):
        accepted_from(value)
    with pytest.raises(Undecodable, match="a"):
        _ = Accepted("a", 0, value or b"\xff").wire
