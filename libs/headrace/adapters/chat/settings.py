"""Which endpoint answers in which role, and within which limits: HEADRACE_CHAT_* and HEADRACE_CHAT_<ROLE>_*."""

import re
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HEADRACE_CHAT_"
ROLE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""Roles become part of the names of settings."""
_OF_ONE_VENDOR = frozenset({"model", "api_key", "tokens_field", "prompt_price", "completion_price", "currency"})
"""What makes no sense at another address, or must not be sent there."""


class ChatSettings(BaseSettings):
    """One endpoint. Unprefixed by a role it is the default, which answers in every role that has no settings of its own."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    url: str = Field(
        "http://127.0.0.1:8080/v1", description="Base address of the endpoint; `/chat/completions` is asked below it."
    )
    model: str = Field("default", min_length=1, description="The model's name there; part of the identity of each call.")
    api_key: SecretStr = Field(SecretStr(""), description="Sent as a bearer token; empty sends none.")
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls the limit of a reply's tokens; newer models of OpenAI want the other."
    )
    concurrency: int = Field(16, ge=1, le=4_096, description="Calls on their way at a time.")
    calls_per_min: float | None = Field(None, gt=0, description="Calls begun in a minute, evenly spaced; unset: no limit.")
    deadline_s: float = Field(60.0, gt=0, description="A try that takes longer is given up.")
    retries: int = Field(5, ge=0, le=100, description="Further tries of a call after one that failed for a reason that may pass.")
    retry_s_min: float = Field(0.5, gt=0, description="Wait before the second try; doubles with each further one, with jitter.")
    retry_s_max: float = Field(30.0, gt=0, description="Longest such wait.")
    retry_after_s_max: float = Field(60.0, gt=0, description="Longest wait that the endpoint itself may ask for (Retry-After).")
    gone_s_max: float = Field(
        60.0, gt=0, description="A failing call is tried again for so long at most; an endpoint silent for so long is gone."
    )
    reply_bytes_max: int = Field(
        262_144, ge=1_024, le=900_000, description="Largest answer read; it is to fit into one record of Kafka."
    )
    tokens_max: int = Field(4_096, ge=1, description="Most tokens that any call may ask for.")
    prompt_price: float | None = Field(
        None, ge=0, description="Price of a million prompt tokens; unset: unknown, which is not 0."
    )
    completion_price: float | None = Field(None, ge=0, description="Price of a million tokens of replies.")
    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="Currency of both prices.")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", url):
            raise ValueError("must be an http or https address without user, query or fragment")
        return url.rstrip("/")


class RepliesSettings(BaseSettings):
    """Limits on kept replies."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_REPLIES_", env_ignore_empty=True, frozen=True, extra="ignore")

    bytes_max: int = Field(
        128 * 1024 * 1024,
        ge=1024 * 1024,
        description="Memory for kept replies; the least recently used go first, and are paid again.",
    )
    back_max: int = Field(
        200_000, ge=1, description="How many of a partition's latest replies are read back when its work is taken over."
    )
    wait_s_max: float = Field(30.0, ge=1, description="Longest wait for Kafka to take or give a reply.")


def endpoint_of(role: str) -> ChatSettings:
    """The settings of one role: its own, else the default's.

    Where a role names an address of its own, the default's model, key and prices do not count: they belong to another server.

    Raises:
        ValueError: the role's name cannot be part of a setting's name, or two settings do not go together.
        pydantic.ValidationError: a setting is out of its range.
    """
    if not ROLE.fullmatch(role):
        raise ValueError(f"role {role[:80]!r} must be lower-case words of letters and digits, joined by underscores")
    default = ChatSettings()
    try:
        own = ChatSettings(_env_prefix=f"{PREFIX}{role.upper()}_")
        strange = "url" in own.model_fields_set and own.url != default.url
        inherited = default.model_fields_set - own.model_fields_set - (_OF_ONE_VENDOR if strange else frozenset())
    except ValidationError as error:
        raise _named_for(role, error) from None
    merged = own.model_copy(update={name: getattr(default, name) for name in inherited})
    if merged.retry_s_min > merged.retry_s_max:
        name = f"{PREFIX}{role.upper()}_RETRY_S"
        raise ValueError(f"{name}_MIN ({merged.retry_s_min:g} s) is above {name}_MAX ({merged.retry_s_max:g} s)")
    return merged


def _named_for(role: str, error: ValidationError) -> ValidationError:
    """The error under a title by which its settings are told with their role."""
    return ValidationError.from_exception_data(
        f"Chat_{role}Settings",
        [
            InitErrorDetails(type=PydanticCustomError("setting", "{why}", {"why": each["msg"]}), loc=each["loc"], input=None)
            for each in error.errors()
        ],
    )
