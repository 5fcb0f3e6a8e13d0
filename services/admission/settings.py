"""Settings of admission, from HEADRACE_ADMISSION_* environment variables."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AdmissionSettings(BaseSettings):
    """How much admission takes in hand at a time."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_ADMISSION_", frozen=True, extra="ignore")

    batch_records_max: int = Field(256, ge=1, le=4096, description="Samples decided at a time.")
