"""What a contract must hold on. Stores: in memory, SeaweedFS always, MinIO where its binary is found (`make minio`).

Vector indexes: all there are; HEADRACE_TEST_QDRANT_URL adds a real server.
"""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.adapters.object_store import ObjectStoreSettings
from headrace.adapters.vector_index import VectorIndexSettings, open_vector_index
from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.adapters.vector_index.server import ServerEngine
from headrace.core.ports.vector_index import Space, VectorIndex
from headrace.local import object_store as local
from headrace.local.minio import find_minio
from headrace.local.running import running
from tests.fakes.exact_vector_index import ExactVectorIndex
from tests.fakes.vector_engine import DictEngine

_NO_MINIO = pytest.mark.skipif(find_minio() is None, reason="no minio binary: `make minio` builds one")
STORES = [
    pytest.param("fake"),
    pytest.param("seaweedfs", marks=pytest.mark.connected),
    pytest.param("minio", marks=[pytest.mark.connected, _NO_MINIO]),
]
PARTS = {"young_points_max": 4, "flight_points_max": 4}
SERVER = os.environ.get("HEADRACE_TEST_QDRANT_URL", "")


@pytest.fixture(scope="session", params=STORES)
def store_settings(request, tmp_path_factory) -> Iterator[ObjectStoreSettings | None]:
    """Where the store is; None for the one in memory. The environment tells of it while it is read here, and to no other test."""
    if request.param == "fake":
        yield None
        return
    with ExitStack() as serving:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(local.CHOICE, request.param)
            store = running(local.ObjectStore(), tmp_path_factory.mktemp(request.param), killed=True)
            for name, value in serving.enter_context(store).tells.items():
                patch.setenv(name, value)
            settings = ObjectStoreSettings(bucket="headrace-test", attempts_max=1)
        yield settings


@pytest.fixture(
    params=[
        "exact",
        "dictionaries",
        "edge",
        "edge in many parts",
        "client in memory",
        pytest.param(
            "server", marks=[pytest.mark.connected, pytest.mark.skipif(not SERVER, reason="HEADRACE_TEST_QDRANT_URL is empty")]
        ),
    ]
)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    """Each kind of index, empty (a server may hold other datasets)."""
    if request.param == "server":
        async with open_vector_index(VectorIndexSettings(url=SERVER)) as opened:
            yield opened
        return
    made: VectorIndex
    if request.param == "exact":
        made = ExactVectorIndex()
    elif request.param == "dictionaries":
        made = QdrantVectorIndex(DictEngine())
    elif request.param == "client in memory":
        from qdrant_client import AsyncQdrantClient  # noqa: PLC0415 - slow to import

        made = QdrantVectorIndex(ServerEngine(AsyncQdrantClient(":memory:")))
    else:
        made = QdrantVectorIndex(EdgeEngine(tmp_path, **PARTS if "parts" in request.param else {}))
    yield made
    await made.close()


@pytest.fixture
def space() -> Space:
    """A space of a dataset of its own, so that a server can be used again and again."""
    return Space(f"test-{uuid.uuid4().hex[:12]}", "model/with:odd name", "3")
