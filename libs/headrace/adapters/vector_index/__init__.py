"""Vector indexes: Qdrant's engine in process, or a Qdrant server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.core.ports.vector_index import VectorIndex

_log = logging.getLogger("headrace.vector_index")


class VectorIndexSettings(BaseSettings):
    """Where the vector index is, from HEADRACE_DIVERSITY_INDEX_* environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_DIVERSITY_INDEX_", frozen=True, extra="ignore", title="Diversity_IndexSettings"
    )

    url: str = Field("", description="URL of a Qdrant server; empty runs Qdrant's engine in the service's own process.")
    grpc_port: int = Field(6334, ge=0, le=65_535, description="The server's gRPC port; 0 speaks HTTP only.")
    api_key: str = Field("", repr=False, description="The server's API key; empty sends none.")
    replicas: int = Field(1, ge=1, le=7, description="Replicas of each collection when it is created on the server.")
    timeout_s: int = Field(10, ge=1, description="Longest wait for one answer of the server.")
    path: Path = Field(Path(".headrace/index"), description="Folder of the engine in process; one process at a time may use it.")
    unbuilt_parts_max: int = Field(
        6, ge=2, le=256, description="Parts of a collection that may be full, in memory, and without a graph: then writing waits."
    )
    build_wait_s_max: float = Field(30.0, gt=0, description="Longest wait of one write for a graph; then reading stops a while.")
    sync_s: float = Field(5.0, gt=0, description="Longest time until the engine's writes are on the disk, for power failures.")


@asynccontextmanager
async def open_vector_index(settings: VectorIndexSettings) -> AsyncIterator[VectorIndex]:
    """The index that the settings name.

    Raises:
        IndexInUse: another process has the folder open.
        DamagedIndex: the folder cannot be read.
    """
    from headrace.adapters.vector_index.qdrant import QdrantVectorIndex  # noqa: PLC0415 - only the client that is used is loaded

    if settings.url:
        from qdrant_client import AsyncQdrantClient  # noqa: PLC0415

        from headrace.adapters.vector_index.server import ServerEngine  # noqa: PLC0415

        client = AsyncQdrantClient(
            url=settings.url,
            grpc_port=settings.grpc_port,
            prefer_grpc=settings.grpc_port > 0,
            api_key=settings.api_key or None,
            timeout=settings.timeout_s,
            check_compatibility=False,  # it would connect here; the first ping says whether the server is there
        )
        served = QdrantVectorIndex(ServerEngine(client, replicas=settings.replicas))
        try:
            yield served
        finally:
            await served.close()
        return
    from headrace.adapters.vector_index.edge import EdgeEngine  # noqa: PLC0415

    engine = await asyncio.to_thread(
        EdgeEngine,
        settings.path,
        unbuilt_parts_max=settings.unbuilt_parts_max,
        build_wait_s_max=settings.build_wait_s_max,
    )
    syncing = asyncio.create_task(_sync(engine.sync, settings.sync_s), name="vector-index-sync")
    try:
        yield QdrantVectorIndex(engine)
    finally:
        syncing.cancel()
        with suppress(asyncio.CancelledError):
            await syncing
        await engine.close()


async def _sync(sync: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await sync()
        except OSError:
            _log.exception("the vector index was not brought to the disk")
