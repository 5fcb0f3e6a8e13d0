"""From a checkpoint published to the first sample scored by it: `python -m tests.bench.bench_roll_out [--adapters N]`.

The real model, server and services: a LoRA adapter of rank 8 on every attention matrix of SmolLM2-135M, as a trainer publishes
it; a sample is submitted every half second. *Load* is what the model server itself took for the new version (imports of
torch, weights, its check of packing). The rest is hops, fetching, comparing hashes, merging, writing, and the golden samples
with both versions. All times are seconds since the trainer began to publish.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import numpy as np
from rich.console import Console
from rich.table import Table

from headrace.adapters.checkpoints.store import CheckpointStore
from headrace.adapters.checkpoints.tensor_files import tensors_of
from headrace.adapters.kafka.admin import KafkaAdmin
from headrace.adapters.kafka.streams import EventPublisher, read_topic
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.core.checkpoints import CheckpointPublished, CheckpointRolledOut
from headrace.core.dossiers import CURRENT, Dossier
from headrace.core.events import Send
from headrace.core.samples import Message, Sample
from headrace.core.topics import CHECKPOINT_PUBLISHED, CHECKPOINT_REFUSED, CHECKPOINT_ROLLED_OUT, SCORED, SUBMITTED
from headrace.lm.weights import weights_sha256
from headrace.local.kafka import Kafka
from headrace.local.object_store import ObjectStore
from headrace.local.running import running
from headrace.local.signals import Signals
from tests.fakes.checkpoints import details
from tests.fakes.model_repositories import ADAPTER_CONFIG, write_tensors

ROOT = Path(__file__).resolve().parents[2]
RANK = 8
WITHIN_S = 400.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=int, default=2, help="so many checkpoints, one after the other")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        tells: dict[str, str] = {}
        for part in (Kafka(), ObjectStore(), Signals()):
            tells |= stack.enter_context(running(part, Path(folder))).tells
        os.environ.update(tells)
        with KafkaAdmin(tells["HEADRACE_KAFKA"]) as admin:
            admin.ensure_topics(partitions=1, replication_factor=1)
        _headrace("dataset", "create", "d").wait()
        for service in ("scoring", "controller"):
            stack.enter_context(_serving(service))
        asyncio.run(_measure(Path(folder), tells["HEADRACE_KAFKA"], arguments.adapters))


async def _measure(folder: Path, kafka: str, adapters: int) -> None:
    table = Table("checkpoint", "weights", "announced", "scored", "load", "rest", "golden loss")
    submitting = asyncio.create_task(_submit(kafka))
    try:
        for number in range(adapters):
            adapter, size = _adapter(folder, number)
            began = time.time()
            published = await _publish(kafka, adapter)
            told = await _told(kafka, published)
            scored = await _first_scored(kafka, told.model_version) - began
            announced = told.rolled_out_at - began
            table.add_row(
                f"{number + 1}", f"{size / 1e6:.0f} MB", f"{announced:.1f} s", f"{scored:.1f} s", f"{told.load_seconds:.1f} s",
                f"{scored - told.load_seconds:.1f} s", f"{told.previous_golden_loss:.3f} to {told.golden_loss:.3f}",
            )  # fmt: skip
    finally:
        submitting.cancel()
    Console().print(table)


def _adapter(folder: Path, number: int) -> tuple[Path, int]:
    """An adapter as PEFT writes it, with small random matrices; and the size of the weights it is merged into."""
    base = folder / "triton" / "models" / "signals" / "1" / "weights"
    luck = np.random.default_rng(number)
    matrices = {}
    for name, tensor in tensors_of(sorted(base.glob("*.safetensors")), header_bytes_max=2**24).items():
        if "self_attn" in name:
            rows, columns = tensor.shape
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            matrices[f"{stem}.lora_A.weight"] = luck.normal(0, 0.01, (RANK, columns)).astype(np.float32)
            matrices[f"{stem}.lora_B.weight"] = luck.normal(0, 0.01, (rows, RANK)).astype(np.float32)
    adapter = folder / f"adapter-{number}"
    adapter.mkdir()
    config = str(ADAPTER_CONFIG | {"r": RANK, "lora_alpha": 2 * RANK}).replace("'", '"').replace("True", "true")
    (adapter / "adapter_config.json").write_text(config)
    write_tensors(adapter / "adapter_model.safetensors", matrices)
    return adapter, sum(file.stat().st_size for file in base.glob("*.safetensors"))


async def _publish(kafka: str, adapter: Path) -> CheckpointPublished:
    base = adapter.parent / "triton" / "models" / "signals" / "1" / "weights"
    sha256 = await asyncio.to_thread(weights_sha256, base)
    async with open_object_store(ObjectStoreSettings()) as objects, EventPublisher(kafka, "headrace/bench") as publisher:
        published = await CheckpointStore(objects).publish(adapter, details(base_sha256=sha256))
        await publisher.publish(Send(CHECKPOINT_PUBLISHED, published), event_id=published.checkpoint_id)
    return published


async def _told(kafka: str, published: CheckpointPublished) -> CheckpointRolledOut:
    async def answer(topic) -> object:
        async with aclosing(read_topic(topic, kafka)) as events:
            async for event in events:
                if event.body.checkpoint_id == published.checkpoint_id:
                    return event.body
        return None

    async with asyncio.timeout(WITHIN_S):
        asked = [asyncio.create_task(answer(topic)) for topic in (CHECKPOINT_ROLLED_OUT, CHECKPOINT_REFUSED)]
        done, others = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    for each in others:
        each.cancel()
    told = done.pop().result()
    if not isinstance(told, CheckpointRolledOut):
        sys.exit(f"not rolled out: {told}")
    return told


async def _first_scored(kafka: str, version: str) -> float:
    """When the first sample measured by the version was visible, Unix seconds."""
    async with asyncio.timeout(WITHIN_S), aclosing(read_topic(SCORED, kafka)) as events:
        async for event in events:
            if event.body.dossier.signals_of(CURRENT).model_version == version:
                return event.time
    raise AssertionError("a topic that is followed does not end")


async def _submit(kafka: str) -> None:
    async with EventPublisher(kafka, "headrace/bench") as publisher:
        while True:
            messages = (Message("user", "What is 6 times 7?"), Message("assistant", "It is 42."))
            dossier = Dossier(Sample("d", uuid4().hex, 0, "0" * 64, messages), time.time())
            await publisher.publish(Send(SUBMITTED, dossier), event_id=uuid4().hex)
            await asyncio.sleep(0.5)


@contextlib.contextmanager
def _serving(service: str) -> Iterator[None]:
    process = _headrace("run", service)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _headrace(*arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}", "HEADRACE_HOME": "/nonexistent"}
    command = [sys.executable, "-m", "headrace.cli.main", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)


if __name__ == "__main__":
    main()
