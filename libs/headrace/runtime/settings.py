"""Settings shared by every service, from HEADRACE_* environment variables. Each service adds its own in its settings.py."""

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class RuntimeSettings(BaseSettings):
    """What every service needs to start. The broker has no default: records for one stack must not go to another by chance."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore")

    kafka: str = Field("", description="Bootstrap servers, host:port, comma-separated.")
    instance: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="This replica's name, the same after a restart and no other's (a pod's name): what a predecessor that died "
        "left behind in Kafka's groups is removed at the start, instead of waited for until its session ends. Unset: waited for.",
    )
    kafka_start_s: float = Field(30, gt=0, description="Longest wait for the broker and its topics at start.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of each hot topic when it is created.")
    replication_factor: int = Field(
        1,
        ge=1,
        le=7,
        description="Replicas of each topic when it is created; of several, all but one must have a record before it counts.",
    )
    graceful_stop_s: float = Field(10, gt=0, description="Longest wait for the batches in hand when a service is asked to stop.")
    host: str = Field("127.0.0.1", description="Address that health and service ports listen on.")
    health_port: int = Field(0, ge=0, le=65_535, description="Port of /livez, /readyz; 0 takes a free one.")
    otlp_endpoint: str = Field("", description="OTLP gRPC endpoint for traces and metrics; empty sends none.")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal, else JSON.")


class DeliverySettings(BaseSettings):
    """Limits of the delivery layer: group membership, transactions, batches, large bodies, retries, dead letters."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_DELIVERY_", frozen=True, extra="ignore")

    session_timeout_ms: int = Field(6_000, ge=1_000, description="A service silent for this long loses its partitions.")
    heartbeat_interval_ms: int = Field(500, ge=100, description="How often a service tells the broker that it lives.")
    rebalance_timeout_ms: int = Field(20_000, ge=1_000, description="Longest time a rebalance waits for a member.")
    drain_s: float = Field(
        10.0, gt=0, description="Longest wait for the batch in hand when partitions are revoked; below the rebalance time-out."
    )
    transaction_timeout_ms: int = Field(
        10_000, ge=1_000, description="An open transaction older than this is aborted by the broker."
    )
    batch_s_min: float = Field(
        0.02, ge=0, le=10, description="Least time from one batch to the next: many small ones cost a transaction each."
    )
    batch_s_aim: float = Field(
        5.0, gt=0, le=60, description="Where a service may choose, it takes as many records at a time as last about so long."
    )
    handler_s_max: float = Field(300, ge=10, description="A handler busy with one batch for longer loses its partitions.")
    record_bytes_max: int = Field(
        1_000_000, ge=1024, description="Largest record written; without a store for its body, a larger event is dead-lettered."
    )
    claim_bytes_min: int = Field(
        256 * 1024, ge=1024, description="Larger bodies go to the object store, where HEADRACE_S3_ENDPOINT names one."
    )
    claim_bytes_max: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="Largest body written to the object store or fetched from it; an event above it is dead-lettered.",
    )
    claims_parallel_max: int = Field(8, ge=1, le=256, description="Bodies written to or fetched from the store at a time.")
    batch_bytes_max: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="Most bytes fetched into memory at a time for one partition: records, and again bodies.",
    )
    attempts_max: int = Field(5, ge=1, description="Attempts at one record before it goes to the dead letters.")
    retry_s_min: float = Field(0.5, gt=0, description="Wait before the second attempt; doubles with each further one.")
    retry_s_max: float = Field(30.0, gt=0, description="Longest wait between two attempts.")
    dependency_wait_s_max: float = Field(5.0, gt=0, description="Longest wait between two looks at a dependency that is gone.")
    dead_letters_share_max: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of dead letters among the latest records that stops the consumer; parked ones do not count.",
    )
    dead_letters_window: int = Field(200, ge=10, description="How many of the latest records that share is taken over.")

    @property
    def inline_bytes_max(self) -> int:
        """The largest body that stays in its record while there is an object store."""
        return min(self.claim_bytes_min, self.record_bytes_max)

    @model_validator(mode="after")
    def _in_time(self) -> "DeliverySettings":
        if self.drain_s * 1000 >= self.rebalance_timeout_ms:
            raise ValueError(
                f"HEADRACE_DELIVERY_DRAIN_S ({self.drain_s:g} s) must be below "
                f"HEADRACE_DELIVERY_REBALANCE_TIMEOUT_MS ({self.rebalance_timeout_ms}): else the group goes on without us"
            )
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError(
                f"HEADRACE_DELIVERY_HEARTBEAT_INTERVAL_MS ({self.heartbeat_interval_ms}) must be at most a third of "
                f"HEADRACE_DELIVERY_SESSION_TIMEOUT_MS ({self.session_timeout_ms}): else one late heartbeat costs the partitions"
            )
        return self


def setting_problems(error: ValidationError) -> str:
    """A settings error as one line that names the environment variables."""
    owner = error.title.removesuffix("Settings").upper()
    prefix = "HEADRACE_" if owner in {"RUNTIME", "CLIENT"} else f"HEADRACE_{owner}_"
    return "; ".join(
        f"{_variable(prefix, problem['loc'])}: {problem['msg']}" if problem["loc"] else problem["msg"]
        for problem in error.errors()
    )


def _variable(prefix: str, place: tuple[int | str, ...]) -> str:
    """The variable of a field; one that has a name of its own is told by that."""
    name = "_".join(str(part) for part in place)
    return name if name.isupper() else f"{prefix}{name.upper()}"
