"""Settings of scoring, from HEADRACE_SCORING_* environment variables."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.adapters.triton.signals import TritonLimits

_LIMITS = TritonLimits()


class ScoringSettings(BaseSettings):
    """Which model measures, and how much it is asked at a time.

    A batch is to end within HEADRACE_DELIVERY_HANDLER_S_MAX: on a slow server take fewer records at a time. On a quick one it
    grows by itself, towards HEADRACE_DELIVERY_BATCH_S_AIM.
    """

    model_config = SettingsConfigDict(env_prefix="HEADRACE_SCORING_", frozen=True, extra="ignore")

    triton: str = Field("127.0.0.1:8001", description="Triton's gRPC address, host:port.")
    model: str = Field("signals", min_length=1, description="The model being trained, as Triton names it.")
    model_version: str = Field(
        "", pattern="^[0-9]*$", description="Its version; empty follows the roll-outs, and before the first takes the newest."
    )
    batch_records_min: int = Field(24, ge=1, le=1024, description="Samples measured at a time, however slow the server is.")
    batch_records_max: int = Field(512, ge=1, le=4096, description="Samples measured at a time, however quick it is.")
    rows_max: int = Field(_LIMITS.rows_max, ge=1, le=64, description="Conversations in one request; Triton's own limit is 64.")
    bytes_max: int = Field(
        _LIMITS.bytes_max, ge=1024, description="Bytes of conversations in one request; a longer one goes alone."
    )
    in_flight_max: int = Field(_LIMITS.in_flight_max, ge=1, le=256, description="Requests out at a time.")
    deadline_s: float = Field(_LIMITS.deadline_s, gt=0, description="A request unanswered for so long is given up.")
    busy_s_max: float = Field(
        _LIMITS.busy_s_max, gt=0, description="Longest time a busy server is asked again before scoring stops."
    )
    load_s_max: float = Field(
        _LIMITS.load_s_max, gt=0, description="Longest time until a model whose process died on the server is loaded again."
    )

    def limits(self) -> TritonLimits:
        """The model server's part of the settings."""
        return TritonLimits(
            rows_max=self.rows_max,
            bytes_max=self.bytes_max,
            in_flight_max=self.in_flight_max,
            deadline_s=self.deadline_s,
            busy_s_max=self.busy_s_max,
            load_s_max=self.load_s_max,
        )
