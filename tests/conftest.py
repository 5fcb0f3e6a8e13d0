"""Real servers for the tests that are marked `connected`: each starts once a session, on free ports, in a folder of its own."""

from collections.abc import Iterator

import pytest

from headrace.adapters.object_store import ObjectStoreSettings
from headrace.local.kafka import Kafka
from headrace.local.object_store import ObjectStore
from headrace.local.running import running
from headrace.local.signals import Signals


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real broker."""
    with running(Kafka(), tmp_path_factory.mktemp("kafka"), killed=True) as launch:
        yield launch.tells["HEADRACE_KAFKA"]


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a broker of the module's own, for tests that count what lies in the shared topics."""
    with running(Kafka(), tmp_path_factory.mktemp("own-kafka"), killed=True) as launch:
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
