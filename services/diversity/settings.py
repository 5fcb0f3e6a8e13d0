"""Settings of diversity, from HEADRACE_DIVERSITY_* environment variables; `VectorIndexSettings` says where its index is."""

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class DiversitySettings(BaseSettings):
    """How many samples are placed at a time, and how long diversity waits and remembers."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_DIVERSITY_", frozen=True, extra="ignore")

    batch_records_max: int = Field(256, ge=1, le=4_096, description="Most samples placed or settled at a time.")
    recheck_s: float = Field(0.25, gt=0, description="How long a held sample waits before it is looked at again.")
    looks_max: int = Field(
        64, ge=1, le=4_096, description="Most held samples of one batch compared anew; the others keep waiting."
    )

    sweep_s: float = Field(60, gt=0, description="How often the index is swept.")
    settled_s_kept: float = Field(
        900, ge=60, description="How long the mark of a settled sample guards against writers that were suspended."
    )
    pending_s_max: float = Field(
        86_400, ge=60, description="A pending point older than this is taken for abandoned and leaves the index."
    )

    density_slice_s: float = Field(
        20, gt=0, description="How long one step of a round's densities computes, and a block more, before it asks for the next."
    )
    folder: Path | None = Field(None, description="Where surveys' embeddings lie meanwhile; unset: the system's own place.")

    @model_validator(mode="after")
    def _marks_go_first(self) -> "DiversitySettings":
        if self.settled_s_kept > self.pending_s_max:
            raise ValueError("HEADRACE_DIVERSITY_SETTLED_S_KEPT is above HEADRACE_DIVERSITY_PENDING_S_MAX")
        return self
