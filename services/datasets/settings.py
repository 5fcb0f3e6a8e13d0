"""Settings of datasets, from HEADRACE_DATASETS_* environment variables; the store's own are HEADRACE_S3_*."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.adapters.rounds.survey_pages import PageLimits
from headrace.adapters.versions.draft import CutSettings
from headrace.adapters.versions.shards import ShardLimits


class DatasetsSettings(BaseSettings):
    """Sizes of segments and shards, and how long a cut waits."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_DATASETS_", frozen=True, extra="ignore")

    batch_records_max: int = Field(2_000, ge=1, le=50_000, description="Most rows of one staged segment.")
    pace_s: float = Field(0.5, ge=0, le=5, description="Shortest time between two batches of a topic: fewer, larger segments.")
    tick_s: float = Field(5.0, gt=0, description="How often staged rows, and their ages, are compared with the policies.")
    ask_again_s: float = Field(
        60.0, gt=0, description="How long after a request for a version that is due by a policy the same is asked for again."
    )
    settle_s_max: float = Field(10.0, ge=0, description="Longest wait of a cut for decisions that are not staged yet.")
    embeddings_wait_s: float = Field(5.0, ge=0, description="Longest wait of a cut for embeddings on their way.")
    shard_rows_max: int = Field(100_000, ge=1, description="Most rows of one shard.")
    shard_bytes_max: int = Field(256 * 1024 * 1024, ge=1024, description="Most uncompressed bytes of one shard, about.")
    sort_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="Rows sorted in memory at a time by a cut.")
    folder: Path | None = Field(
        None, description="Where cuts and rounds keep what memory does not hold; unset: the system's own place."
    )
    survey_page_rows_max: int = Field(500, ge=1, le=10_000, description="Most rows of a version that one page of a survey sends.")
    survey_page_bytes_max: int = Field(4 * 1024 * 1024, ge=1024, description="Most bytes of dossiers read for one page, about.")
    survey_shards_bytes_max: int = Field(
        4 * 1024**3, ge=1024, description="Disk for shards that surveys read: what is used least recently goes first."
    )
    hint_chars_max: int = Field(
        2_000, ge=1, le=100_000, description="Longest prompt of a neighbour that a rewrite is given as a hint."
    )
    evictions_max: int = Field(20_000, ge=1, le=100_000, description="Most rows that one round may evict.")
    eviction_rows_max: int = Field(4_000_000, ge=1, description="Most rows of a survey among which evictions are chosen.")

    def page_limits(self) -> PageLimits:
        """What one page of a survey may hold."""
        return PageLimits(self.survey_page_rows_max, self.survey_page_bytes_max)

    def cut_settings(self) -> CutSettings:
        """What one cut may use."""
        return CutSettings(
            folder=self.folder,
            shards=ShardLimits(shard_rows_max=self.shard_rows_max, shard_bytes_max=self.shard_bytes_max),
            run_bytes=self.sort_bytes,
            embeddings_wait_s=self.embeddings_wait_s,
        )
