"""What bounds a subscriber, and the errors that end it."""

from dataclasses import dataclass

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.adapters.kafka.unreachable import quiet_clients
from headrace.local.state import find_stack


@dataclass(frozen=True, slots=True)
class SubscribeLimits:
    """How much a subscriber holds and how long it waits.

    At most about `prefetch_rows` items and `prefetch_bytes` bytes of them are in memory ahead of the caller, and again as many
    bytes in the Kafka client; one item may be larger than that. While the broker or the object store is away, the subscriber
    waits `patience_s` seconds before it gives up; so long it also waits for the broker at the start.
    `clocks_within_s`: by how much, in seconds, the clocks of the hosts that admission runs on differ at most, its longest
    transaction included; None assumes nothing. It matters for catching up from a version alone, see `headrace.client.bridge`.
    """

    prefetch_rows: int = 16_000
    prefetch_bytes: int = 16 * 1024 * 1024
    patience_s: float = 60.0
    clocks_within_s: float | None = 600.0

    def __post_init__(self) -> None:
        if self.prefetch_rows < 1 or self.prefetch_bytes < 1 or self.patience_s <= 0 or (self.clocks_within_s or 0) < 0:
            raise ValueError(f"limits are positive numbers: {self}")


class ClientSettings(BaseSettings):
    """Where the stream is, from the environment."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore")

    kafka: str = Field("", description="Bootstrap servers, host:port, comma-separated.")
    gateway: str = Field(
        "8091",
        validation_alias=AliasChoices("HEADRACE_GATEWAY", "HEADRACE_GATEWAY_GRPC_PORT"),
        description="The gateway's gRPC address, host:port; a port alone is on this machine.",
    )
    token: str = Field("", description="Bearer token, where the gateway asks for one.")
    delivery_claim_bytes_max: int = Field(
        16 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024, description="Largest body fetched from the object store."
    )
    world_size: int = Field(
        1, ge=1, validation_alias="WORLD_SIZE", description="Ranks of the run; torchrun and accelerate set it."
    )


def found_settings() -> ClientSettings:
    """Where the stack is: as the environment says, else the one that runs here, as the command line finds it."""
    find_stack()
    quiet_clients()
    return ClientSettings()


class PositionGone(Exception):
    """Records between a position and the present are no longer in the topic, or the topic is another one."""


class UnreadableRecord(Exception):
    """A record or a row is no accepted sample, or its body is missing from the object store; the message names it."""
