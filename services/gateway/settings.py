"""Settings of the gateway, from HEADRACE_GATEWAY_* environment variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.core.intake import IntakeLimits

KIB = 1024
MIB = 1024 * KIB
_LIMITS = IntakeLimits()


class GatewaySettings(BaseSettings):
    """Where the gateway listens, whom it lets in, and how much."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_GATEWAY_", frozen=True, extra="ignore")

    grpc_port: int = Field(8091, ge=0, le=65_535, description="Port of gRPC Ingest; 0 takes a free one.")
    http_port: int = Field(8090, ge=0, le=65_535, description="Port of HTTP; 0 takes a free one.")
    tokens_file: Path | None = Field(
        None, description="YAML or JSON file of tokens; without one the gateway is open and must listen on a loopback address."
    )
    tokens_poll_s: float = Field(1.0, gt=0, description="How often the tokens file is looked at for changes.")

    line_bytes_max: int = Field(
        _LIMITS.line_bytes_max,
        ge=KIB,
        le=64 * MIB,
        description="Bytes of one sample as it is sent; what comes by Kafka has at most the 1 MiB that its topic takes.",
    )
    sample_bytes_max: int = Field(
        _LIMITS.sample_bytes_max,
        ge=KIB,
        le=64 * MIB,
        description="UTF-8 bytes of one sample's texts. With its dossier a sample of more than 512 KiB can outgrow a record, "
        "so raise this only where HEADRACE_S3_ENDPOINT names a store, and to half of HEADRACE_DELIVERY_CLAIM_BYTES_MAX at most.",
    )
    turns_max: int = Field(_LIMITS.turns_max, ge=2, le=100_000, description="Turns of one conversation.")
    depth_max: int = Field(_LIMITS.depth_max, ge=8, le=200, description="Nesting of objects and arrays in one sample.")
    metadata_bytes_max: int = Field(_LIMITS.metadata_bytes_max, ge=0, le=64 * MIB, description="Bytes of one sample's metadata.")
    attributes_max: int = Field(_LIMITS.attributes_max, ge=0, le=10_000, description="Attributes of one sample.")

    grpc_message_bytes_max: int = Field(
        8 * MIB,
        ge=KIB,
        le=256 * MIB,
        description="A larger gRPC message ends its stream; up to this size only the sample is refused.",
    )
    body_bytes_max: int = Field(4 * KIB * MIB, ge=KIB, description="Bytes of one HTTP body, unpacked.")
    gzip_ratio_max: int = Field(
        200, ge=2, description="Most unpacked bytes for one packed byte, once more than 1 MiB is unpacked."
    )
    body_idle_s_max: float = Field(300, gt=0, description="A body of which nothing arrives for this long is given up.")

    window: int = Field(256, ge=1, le=100_000, description="Samples of one stream on their way to Kafka.")
    in_flight_bytes_max: int = Field(64 * MIB, ge=KIB, description="Bytes of all streams on their way to Kafka.")
    streams_max: int = Field(64, ge=1, le=10_000, description="Streams open at a time, gRPC and HTTP together.")
    answer_stall_s_max: float = Field(60, gt=0, description="A client that does not read its answers for this long is cut off.")
    publish_s_max: float = Field(30, gt=0, description="Longest wait for Kafka before a sample is answered as unavailable.")
    dataset_wait_s: float = Field(2, ge=0, description="Longest wait for the policy of a dataset created a moment ago.")
    stop_s: float = Field(8, gt=0, description="Longest wait for open streams to be answered when the gateway stops.")

    lag_max: int = Field(
        20_000, ge=0, description="Records on their way to a decision above which intake pauses; from half on it slows."
    )
    lag_poll_s: float = Field(1.0, gt=0, description="How often the spine's lag is looked up.")
    lag_pause_s_max: float = Field(60, gt=0, description="Longest pause of the Kafka entry before it hands its batch back.")

    def intake_limits(self) -> IntakeLimits:
        """The limits of one sample."""
        return IntakeLimits(
            line_bytes_max=self.line_bytes_max,
            sample_bytes_max=self.sample_bytes_max,
            turns_max=self.turns_max,
            depth_max=self.depth_max,
            metadata_bytes_max=self.metadata_bytes_max,
            attributes_max=self.attributes_max,
        )
