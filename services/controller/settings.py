"""Settings of controller, from HEADRACE_CONTROLLER_* environment variables; checkpoints have HEADRACE_CHECKPOINTS_*."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_GIB = 1024**3


class ControllerSettings(BaseSettings):
    """Where models are served from, and what a checkpoint must hold to before it measures.

    A roll-out is to end within HEADRACE_DELIVERY_HANDLER_S_MAX: the times here are held against it at the start.
    """

    model_config = SettingsConfigDict(env_prefix="HEADRACE_CONTROLLER_", frozen=True, extra="ignore")

    triton: str = Field(
        "127.0.0.1:8001", validation_alias="HEADRACE_SCORING_TRITON", description="Triton's gRPC address, host:port: scoring's."
    )
    model_repository: Path | None = Field(
        None, description="The folder that Triton reads its models from; unset: checkpoints are refused."
    )
    memory_bytes_max: int = Field(
        8 * _GIB, ge=1, description="Memory that the model server has for one model's versions; two are loaded at a time."
    )
    memory_per_weight_byte: float = Field(
        1.25, gt=0, le=16, description="Memory that a loaded version takes, in multiples of its weights' size on disk."
    )
    versions_kept: int = Field(3, ge=2, le=100, description="Versions that stay on disk, beside the first one and those served.")

    golden: Path | None = Field(None, description="Conversations, JSON Lines, that a version is checked on; unset: our own.")
    golden_loss_min: float = Field(
        0.001, ge=0, description="Lowest mean loss on them: below it the weights, or they, are broken."
    )
    golden_loss_max: float = Field(8.0, gt=0, description="Highest mean loss on them, nats per response token.")
    golden_loss_ratio_max: float = Field(1.5, gt=0, description="Highest ratio of that loss to the present version's.")

    turn_s_max: float = Field(10.0, gt=0, description="Longest wait for another roll-out or rollback to end.")
    fetch_s_max: float = Field(60.0, gt=0, description="Longest time to fetch a checkpoint from the object store.")
    load_s_max: float = Field(120.0, gt=0, description="Longest time for the model server to load a version.")
    unload_s_max: float = Field(15.0, gt=0, description="Longest wait until the model server has let go of an older version.")
    golden_s_max: float = Field(40.0, gt=0, description="Longest time for the golden samples with one version.")
    loads_max: int = Field(3, ge=1, le=100, description="Attempts to load a version that end with the server gone.")

    round_page_rows: int = Field(64, ge=1, le=10_000, description="Rewrites of a round that are asked for at a time.")
    round_tick_s: float = Field(15.0, gt=0, le=3_600, description="How often a round looks whether its deadline has passed.")
    selection_rows_held_max: int = Field(
        4_000_000, ge=1, description="Rows of a survey that solving a target share, or a merge, may hold; about 60 bytes each."
    )
    calibration_s_max: float = Field(
        60.0, gt=0, le=600, description="Longest time to read a dataset's rows for standing thresholds; then there are none."
    )
    report_wait_s: float = Field(
        10.0, ge=0, le=60, description="Longest wait of the report of a round without a version for decisions not staged yet."
    )
    folder: Path | None = Field(None, description="Where surveys' tables are put together; unset: the system's temporary folder.")

    @property
    def roll_out_s_max(self) -> float:
        """The longest time for one roll-out, the writing of weights apart."""
        return self.turn_s_max + self.fetch_s_max + self.load_s_max + self.unload_s_max + 2 * self.golden_s_max
