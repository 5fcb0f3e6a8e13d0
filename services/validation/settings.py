"""Settings of validation, from HEADRACE_VALIDATION_* environment variables."""

import os

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.checks import CPU_S_MAX, PoolLimits

MIB = 1024 * 1024
_POOL = PoolLimits()
_WORKERS_MAX = 8


def _workers() -> int:
    """One for each processor that this process may run on, where the system tells that; eight at most."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_WORKERS_MAX, processors)


class ValidationSettings(BaseSettings):
    """How much work the checks do at a time, and what a worker process may take.

    A batch ends within `batch_s_max`, whatever its checks take; that is held against HEADRACE_DELIVERY_HANDLER_S_MAX at the
    start. Batches that take long become smaller, down to a sample for each worker.
    """

    model_config = SettingsConfigDict(env_prefix="HEADRACE_VALIDATION_", frozen=True, extra="ignore")

    batch_records_per_worker: int = Field(48, ge=1, le=1024, description="Most samples checked at a time, for each worker.")
    batch_s_max: float = Field(
        120,
        gt=0,
        description="A check that has not ended so long after its batch began is given up and tried again with back-off.",
    )
    attempts_max: int = Field(
        3, ge=1, le=100, description="Attempts at a check whose worker was lost; then it was not made. Below the delivery's own."
    )
    workers: int = Field(
        default_factory=_workers,
        ge=1,
        le=64,
        description="Processes for checks that may run away, such as math. Unset: one for each processor that may be used, "
        "at most 8; a quota of processor time, as containers have, is not seen.",
    )
    worker_memory_bytes_max: int = Field(
        _POOL.memory_bytes_max, ge=256 * MIB, description="Address space of one of them; a check that needs more is not made."
    )
    worker_jobs_max: int = Field(_POOL.jobs_max, ge=1, description="Checks that one of them does before a fresh one takes over.")
    worker_stall_s_max: float = Field(
        _POOL.stall_s_max, gt=0, description="A worker this long silent beyond its processor time is killed."
    )

    @model_validator(mode="after")
    def _in_time(self) -> "ValidationSettings":
        if CPU_S_MAX + self.worker_stall_s_max >= self.batch_s_max:
            raise ValueError(
                f"HEADRACE_VALIDATION_WORKER_STALL_S_MAX ({self.worker_stall_s_max:g}) and the {CPU_S_MAX} s of processor time "
                f"that a policy may give to a check must be below HEADRACE_VALIDATION_BATCH_S_MAX ({self.batch_s_max:g}): else "
                "a batch of one sample may be too long"
            )
        return self

    def pool_limits(self) -> PoolLimits:
        """The worker pool's part of the settings."""
        return PoolLimits(
            workers=self.workers,
            memory_bytes_max=self.worker_memory_bytes_max,
            stall_s_max=self.worker_stall_s_max,
            jobs_max=self.worker_jobs_max,
        )
