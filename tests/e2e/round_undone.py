"""A dataset before a round and after its undoing: rows of versions, and what a subscriber of the accepted topic ends with."""

import asyncio
import json
import time
from contextlib import aclosing

from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import open_object_store
from headrace.adapters.versions.store import VersionStore
from headrace.core.dossiers import Retraction
from headrace.core.topics import accepted_topic
from headrace.core.versions import RowKind
from tests.e2e.round_cases import done
from tests.e2e.rounds import samples
from tests.e2e.spine import Spine

SERVICES = ("controller", "datasets", "diversity", "scoring", "admission")
"""Who has a part in undoing a round."""
_TOLD_S_MAX = 120.0

Contents = dict[str, tuple[str, int]]
"""Hash and revision of each sample, by id."""


def rows_of(spine: Spine, dataset: str, version: str = "") -> Contents:
    """The accepted rows of a version, the latest one where none is named."""

    async def read() -> Contents:
        found: Contents = {}
        async with open_object_store(spine.store_settings()) as objects:
            versions = VersionStore(objects)
            manifest = (await versions.version(dataset, version)).manifest
            async for batch in versions.rows(manifest, RowKind.ACCEPTED, ("sample_id", "revision", "content_hash")):
                found |= {row["sample_id"]: (row["content_hash"], row["revision"]) for row in batch.to_pylist()}
        return found

    return asyncio.run(read())


def origins_of(spine: Spine, dataset: str, version: str) -> dict[str, tuple[str, int]]:
    """Axis and revision of what a round made of the version's samples, by id."""

    async def read() -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        async with open_object_store(spine.store_settings()) as objects:
            versions = VersionStore(objects)
            manifest = (await versions.version(dataset, version)).manifest
            async for batch in versions.rows(manifest, RowKind.ACCEPTED, ("sample_id", "revision", "origin_axis")):
                found |= {row["sample_id"]: (row["origin_axis"], row["revision"]) for row in batch.to_pylist()}
        return {name: each for name, each in found.items() if each[0]}

    return asyncio.run(read())


def send_meanwhile(spine: Spine, dataset: str, rewritten: str, revision: int) -> None:
    """Somebody submits a sample, and a later revision of one that the round has rewritten."""
    new, again = samples(130)[120:122]
    lines = [new | {"id": "new"}, again | {"id": rewritten, "revision": revision}]
    done(spine, "submit", "--dataset", dataset, "-", stdin="".join(json.dumps(line) + "\n" for line in lines))


def told_to_subscribers(spine: Spine, dataset: str, expected: Contents) -> Contents:
    """What a subscriber has that took all records in their order; looked at until it is as expected, or for a while."""

    async def read() -> Contents:
        found: Contents = {}
        gone: dict[str, int] = {}
        topic = accepted_topic(dataset)
        async with aclosing(read_topic(topic, spine.environment["HEADRACE_KAFKA"], until_now=True)) as events:
            async for event in events:
                change = event.body.change
                if isinstance(change, Retraction):
                    name, revision = change.sample_id, change.revision
                    gone[name] = max(revision, gone.get(name, -1))
                    if name in found and found[name][1] <= revision:
                        del found[name]
                elif change.sample.revision > gone.get(change.sample.id, -1):
                    assert change.sample.revision > found.get(change.sample.id, ("", -1))[1], "revisions come in order"
                    found[change.sample.id] = (change.sample.content_hash, change.sample.revision)
        return found

    until = time.monotonic() + _TOLD_S_MAX
    while (found := asyncio.run(read())) != expected and time.monotonic() < until:
        time.sleep(1)
    return found
