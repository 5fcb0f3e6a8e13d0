"""Settings of validation, from HEADRACE_VALIDATION_* environment variables."""

import os

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.checks import PoolLimits

MIB = 1024 * 1024
_POOL = PoolLimits()


class ValidationSettings(BaseSettings):
    """How much work the checks do at a time, and what a worker process may take.

    A batch is to end within HEADRACE_DELIVERY_HANDLER_S_MAX even when every check of it takes all the time its policy gives.
    """

    model_config = SettingsConfigDict(env_prefix="HEADRACE_VALIDATION_", frozen=True, extra="ignore")

    batch_records_per_worker: int = Field(48, ge=1, le=1024, description="Samples checked at a time, for each worker process.")
    attempts_max: int = Field(
        3, ge=1, le=100, description="Attempts at a check whose worker was lost; then it was not made. Below the delivery's own."
    )
    workers: int = Field(
        min(8, os.cpu_count() or 1), ge=1, le=64, description="Processes for checks that may run away, such as math."
    )
    worker_memory_bytes_max: int = Field(
        _POOL.memory_bytes_max, ge=256 * MIB, description="Address space of one of them; a check that needs more is not made."
    )
    worker_jobs_max: int = Field(_POOL.jobs_max, ge=1, description="Checks that one of them does before a fresh one takes over.")
    worker_stall_s_max: float = Field(
        _POOL.stall_s_max, gt=0, description="A worker this long silent beyond its processor time is killed."
    )

    def pool_limits(self) -> PoolLimits:
        """The worker pool's part of the settings."""
        return PoolLimits(
            workers=self.workers,
            memory_bytes_max=self.worker_memory_bytes_max,
            stall_s_max=self.worker_stall_s_max,
            jobs_max=self.worker_jobs_max,
        )
