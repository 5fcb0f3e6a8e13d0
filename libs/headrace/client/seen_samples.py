"""Which samples a checkpoint has seen."""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.claim_check import ClaimLimits, LargeBodies
from headrace.adapters.kafka.streams import read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.adapters.versions.store import VersionStore
from headrace.client.gathered import Gathered
from headrace.client.limits import ClientSettings
from headrace.core.checkpoints import CheckpointPublished, TrainingData
from headrace.core.dossiers import AcceptedSample, Retraction
from headrace.core.events import Event
from headrace.core.fine_tuning import SAMPLES_FILE
from headrace.core.ports.object_store import ObjectStore
from headrace.core.samples import prompt_hash_of
from headrace.core.topics import accepted_topic
from headrace.core.versions import RowKind

_COLUMNS = ("sample_id", "revision", "prompt_hash")


async def seen_samples(
    published: CheckpointPublished,
    *,
    held_out: bool = False,
    kafka: str | None = None,
    store: ObjectStoreSettings | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Id and revision of every sample the checkpoint has seen, or with `held_out` of those that were kept from it.

    Where the trainer stored the list with the weights, it is that list. Else it follows from what the checkpoint says of its
    data: the accepted rows of the version, then the ranges of the accepted topic, revisions and retractions applied. Memory does
    not grow with the number of samples.

    Raises:
        DamagedCheckpoint, DamagedVersion: an object is missing or altered.
        Stop, BrokerUnreachable: store or broker cannot be reached.
    """
    settings = store or ObjectStoreSettings()
    with tempfile.TemporaryDirectory(prefix="headrace-samples-") as folder:
        async with open_object_store(settings) as objects:
            if not held_out and any(file.name == SAMPLES_FILE for file in published.files):
                path = Path(folder) / SAMPLES_FILE
                await CheckpointStore(objects).download(published, SAMPLES_FILE, path)
                with path.open(encoding="utf-8") as lines:
                    for line in lines:
                        sample_id, revision = json.loads(line)
                        yield sample_id, revision
                return
            with Gathered(Path(folder) / "samples.sqlite", published.data.held_out_seed) as gathered:
                await _take_version(gathered, objects, published.data)
                await _take_records(gathered, settings, published.data, kafka or ClientSettings().kafka)
                chosen = gathered.held_out if held_out else gathered.trained
                for sample_id, revision, _ in chosen(published.data.held_out_share):
                    yield sample_id, revision


async def _take_version(gathered: Gathered, objects: ObjectStore, data: TrainingData) -> None:
    if not data.version:
        return
    versions = VersionStore(objects)
    manifest = await versions.manifest(data.dataset_id, data.version)
    async for batch in versions.rows(manifest, RowKind.ACCEPTED, _COLUMNS):
        for row in batch.to_pylist():
            gathered.accept(*(row[name] for name in _COLUMNS))


async def _take_records(gathered: Gathered, store: ObjectStoreSettings, data: TrainingData, kafka: str) -> None:
    if not data.positions:
        return
    ranges = {each.partition: range(each.from_offset, each.until_offset) for each in data.positions}
    bytes_max = ClientSettings().delivery_claim_bytes_max
    bodies = LargeBodies(partial(open_object_store, store), ClaimLimits(bytes_max, bytes_max, parallel_max=1))
    try:
        events = read_topic(accepted_topic(data.dataset_id), kafka, until_now=True, large_bodies=bodies)
        async with aclosing(events):
            async for event in events:
                if event.position.offset in ranges.get(event.position.partition, ()):
                    _take(gathered, event)
    finally:
        await bodies.aclose()


def _take(gathered: Gathered, event: Event[AcceptedSample]) -> None:
    change = event.body.change
    if isinstance(change, Retraction):
        gathered.retract(change.sample_id, change.revision)
    else:
        gathered.accept(change.sample.id, change.sample.revision, prompt_hash_of(change.sample))
