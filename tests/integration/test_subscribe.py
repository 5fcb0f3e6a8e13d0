"""Subscribing, on a real broker and a real S3 server."""

import asyncio
from contextlib import aclosing

import pytest

from headrace.client import Accepted, Item, Retracted, subscribe
from headrace.core.dossiers import Retraction
from tests.fakes.accepted_topics import accepted, new_dataset, publish

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]


def ids(items) -> list[tuple[str, int]]:
    return [(item.sample_id, item.revision) for item in items]


async def read(dataset: str, kafka: str, **asked) -> list[Item]:
    subscription = subscribe(dataset, kafka=kafka, follow=False, **asked)
    return [item async for item in subscription]


async def test_everything_is_read_once_and_each_sample_in_order(kafka):
    """Acceptances, a later revision and a retraction, from all partitions, ending where the topic ends."""
    dataset = new_dataset(kafka)
    names = [f"s-{n}" for n in range(50)]
    await publish(kafka, dataset, accepted(dataset, names))
    await publish(kafka, dataset, [*accepted(dataset, names[:5], 1), Retraction(dataset, names[0], 1, "privacy")])
    items = await read(dataset, kafka)
    assert len(items) == 56
    assert [item for item in items if item.sample_id == names[0]][2] == Retracted(names[0], 1, "privacy")
    assert [revision for name, revision in ids(items) if name == names[1]] == [0, 1]
    first = next(item for item in items if isinstance(item, Accepted))
    assert first.messages[0] == {"role": "user", "content": f"What is {first.sample_id} times 0? "}
    assert first.row()["reference"]["answer"] == "42"
    assert first.sample.id == first.sample_id


def test_a_loop_without_asyncio_goes_on_from_a_token(kafka):
    """The plain `for`: stopped after any number of samples, another one goes on behind them."""
    dataset = new_dataset(kafka)
    asyncio.run(publish(kafka, dataset, accepted(dataset, [f"s-{n}" for n in range(40)])))
    seen: list[tuple[str, int]] = []
    behind: str | None = "beginning"
    while behind is not None:
        with subscribe(dataset, start=behind, kafka=kafka, follow=False) as subscription:
            for _ in range(7):
                item = next(subscription, None)
                if item is None:
                    break
                seen.append((item.sample_id, item.revision))
            behind = subscription.position
        if item is None:
            break
    assert sorted(seen) == sorted((f"s-{n}", 0) for n in range(40))


async def test_following_waits_for_what_comes(kafka):
    """From now on: nothing of before, everything of afterwards; giving up waiting loses nothing."""
    dataset = new_dataset(kafka)
    await publish(kafka, dataset, accepted(dataset, ["before"]))
    async with aclosing(subscribe(dataset, start="now", kafka=kafka)) as subscription:
        for _ in range(200):  # a busy machine needs a while to find where the topic ends
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await anext(subscription)
            if subscription.position is not None:
                break
        await publish(kafka, dataset, accepted(dataset, ["after"]))
        assert ids([await anext(subscription)]) == [("after", 0)]
