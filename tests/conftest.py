"""Real servers for the tests that are marked `connected`: each starts once a session, on free ports, in a folder of its own."""

from collections.abc import Iterator

import pytest

from headrace.local.kafka import Kafka
from headrace.local.running import running


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real broker."""
    with running(Kafka(), tmp_path_factory.mktemp("kafka")) as launch:
        yield launch.tells["HEADRACE_KAFKA"]
