"""Tests are not timed; real servers for those marked `connected` start once a session, on free ports, in folders of their own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from headrace.adapters.object_store import ObjectStoreSettings
from headrace.local.kafka import Kafka
from headrace.local.launch import Place
from headrace.local.object_store import ObjectStore
from headrace.local.ports import free_port
from headrace.local.running import running
from headrace.local.signals import Signals

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def formatted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a broker that has never run: formatting one takes a Java program, copying it takes nothing."""
    folder = tmp_path_factory.mktemp("formatted")
    taken: set[int] = set()
    ports = {}
    for name in Kafka().port_names:
        ports[name] = free_port(taken)
        taken.add(ports[name])
    Kafka().prepare(Place(folder / Kafka().name, folder / "kafka.log", ports), lambda _: None)
    return folder


@pytest.fixture(scope="session")
def kafka(formatted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real broker."""
    folder = shutil.copytree(formatted, tmp_path_factory.mktemp("kafka"), dirs_exist_ok=True)
    with running(Kafka(), folder, killed=True) as launch:
        yield launch.tells["HEADRACE_KAFKA"]


@pytest.fixture(scope="module")
def own_kafka(formatted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a broker of the module's own, for tests that count what lies in the shared topics."""
    folder = shutil.copytree(formatted, tmp_path_factory.mktemp("own-kafka"), dirs_exist_ok=True)
    with running(Kafka(), folder, killed=True) as launch:
        yield launch.tells["HEADRACE_KAFKA"]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreSettings]:
    """A real S3 server; tests take buckets of their own with `s3.model_copy(update={"bucket": ...})`."""
    with running(ObjectStore(), tmp_path_factory.mktemp("s3"), killed=True) as launch:
        told = {name.removeprefix("HEADRACE_S3_").lower(): value for name, value in launch.tells.items()}
        yield ObjectStoreSettings.model_validate(told)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gRPC address of a real Triton that serves `signals`; for tests marked `model`."""
    with running(Signals(), tmp_path_factory.mktemp("triton"), killed=True) as launch:
        yield launch.tells["HEADRACE_SCORING_TRITON"]
