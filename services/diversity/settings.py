"""Settings of diversity, from HEADRACE_DIVERSITY_* environment variables."""

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class DiversitySettings(BaseSettings):
    """Where the vector index is, and how long it waits and remembers."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_DIVERSITY_", frozen=True, extra="ignore")

    index_url: str = Field("", description="URL of a Qdrant server; empty runs Qdrant's engine in this process.")
    index_grpc_port: int = Field(6334, ge=0, le=65_535, description="The server's gRPC port; 0 speaks HTTP only.")
    index_api_key: str = Field("", description="The server's API key; empty sends none.")
    index_replicas: int = Field(1, ge=1, le=7, description="Replicas of each collection when the server creates it.")
    index_timeout_s: int = Field(10, ge=1, description="Longest wait for one answer of the server.")
    index_path: Path = Field(Path(".headrace/index"), description="Folder of the engine in process; one process may use it.")
    index_flush_s: float = Field(
        5.0, gt=0, description="How often the engine in process brings its writes to the disk, against power failures."
    )

    batch_records_max: int = Field(256, ge=1, le=4_096, description="Most samples placed or settled at a time.")
    recheck_s: float = Field(0.25, gt=0, description="How long a held sample waits before it is looked at again.")
    looks_max: int = Field(
        64, ge=1, le=4_096, description="Most held samples of one batch compared anew; the others keep waiting."
    )

    sweep_s: float = Field(60, gt=0, description="How often the index is swept.")
    settled_s_kept: float = Field(
        3_600, ge=60, description="How long the mark of a settled sample guards against writers that were suspended."
    )
    pending_s_max: float = Field(
        86_400, ge=60, description="A pending point older than this is taken for abandoned and leaves the index."
    )

    @model_validator(mode="after")
    def _marks_go_first(self) -> "DiversitySettings":
        if self.settled_s_kept > self.pending_s_max:
            raise ValueError("HEADRACE_DIVERSITY_SETTLED_S_KEPT is above HEADRACE_DIVERSITY_PENDING_S_MAX")
        return self
