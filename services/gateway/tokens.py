"""Who may send: bearer tokens from a file, each with its datasets, its end and its rate.

Only the SHA-256 of a token is kept, in the file and in memory.
"""

import asyncio
import hashlib
import hmac
import io
import ipaddress
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.gateway.pace import Pace

_log = logging.getLogger("headrace.gateway")
_FILE_BYTES_MAX = 4 * 1024 * 1024
_HEADER_CHARACTERS_MAX = 4_096
Clock = Callable[[], float]


class Unauthenticated(Exception):
    """No token, or none that opens anything (any more)."""


class TokensUnusable(Exception):
    """The gateway must not start like this; the text says what to set."""


class Grant(BaseModel):
    """One entry of the tokens file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    datasets: tuple[str, ...] = Field(min_length=1)
    expires: AwareDatetime | None = None
    rate_per_s: float | None = Field(None, gt=0)
    streams: int | None = Field(None, ge=1)

    @field_validator("sha256")
    @classmethod
    def _lower(cls, digest: str) -> str:
        return digest.lower()

    @field_validator("expires", mode="before")
    @classmethod
    def _with_zone(cls, moment: object) -> object:
        if isinstance(moment, datetime) and moment.tzinfo is None:
            raise ValueError("write the time zone, as in 2027-01-01T00:00:00Z")
        return moment


class _TokensFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: tuple[Grant, ...]


@dataclass(slots=True)
class Caller:
    """Somebody who was let in; on an open gateway everybody is the same one. `grant` is None once the token is withdrawn."""

    grant: Grant | None
    pace: Pace
    streams: int = 0

    def check(self, now: float) -> Grant:
        """The standing grant; `now` is Unix seconds.

        Raises:
            Unauthenticated: it has been withdrawn or has expired, perhaps in the middle of a stream.
        """
        if self.grant is None:
            raise Unauthenticated("the token has been withdrawn")
        if self.grant.expires is not None and self.grant.expires.timestamp() <= now:
            raise Unauthenticated(f"the token expired at {self.grant.expires.isoformat()}")
        return self.grant

    def opens(self, dataset_id: str, now: float) -> bool:
        """Whether the token is for this dataset; raises Unauthenticated as `check` does."""
        return any(fnmatchcase(dataset_id, pattern) for pattern in self.check(now).datasets)


class Tokens:
    """The tokens in force. With no file everybody may send everything."""

    def __init__(self, path: Path | None, *, clock: Clock = time.time) -> None:
        self._path = path
        self._clock = clock
        self._callers: Mapping[str, Caller] = {}
        self._seen: object = None
        self._everybody = Caller(Grant(name="everybody", sha256="0" * 64, datasets=("*",)), Pace(None))
        if path is not None:
            self._seen = _state_of(path)
            self._take(_read(path))

    @property
    def open(self) -> bool:
        """Whether there are no tokens, so that everybody may send."""
        return self._path is None

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind an `Authorization` header.

        Raises:
            Unauthenticated: the text says what is missing, never what would have been right.
        """
        if self._path is None:
            return self._everybody
        scheme, _, token = (authorization or "")[:_HEADER_CHARACTERS_MAX].partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("send the token as `Authorization: Bearer TOKEN`")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found: Caller | None = None
        for known, caller in self._callers.items():  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise Unauthenticated("the token is not known here")
        found.check(self._clock())
        return found

    async def follow(self, poll_s: float) -> None:
        """Take up changes of the file until cancelled. A file that cannot be read changes nothing and is logged."""
        while self._path is not None:
            await asyncio.sleep(poll_s)
            state = await asyncio.to_thread(_state_of, self._path)
            if state == self._seen:
                continue
            self._seen = state
            try:
                grants = await asyncio.to_thread(_read, self._path)
            except TokensUnusable as error:
                _log.error("the tokens stay as they were: %s", error)
            else:
                self._take(grants)
                _log.info("%d tokens in force", len(grants))

    def _take(self, grants: tuple[Grant, ...]) -> None:
        """Callers outlive a change of the file, so that open streams feel it."""
        callers = dict(self._callers)
        for caller in callers.values():
            caller.grant = None
        for grant in grants:
            caller = callers.setdefault(grant.sha256, Caller(grant, Pace(grant.rate_per_s)))
            caller.grant = grant
            caller.pace.rate_per_s = grant.rate_per_s
        self._callers = {digest: caller for digest, caller in callers.items() if caller.grant is not None}


def check_exposure(host: str, tokens_file: Path | None) -> None:
    """Refuse to be open to other machines.

    Raises:
        TokensUnusable: no tokens, and an address that others can reach.
    """
    if tokens_file is None and not _is_loopback(host):
        raise TokensUnusable(
            f"HEADRACE_HOST is {host}, which other machines can reach, and there are no tokens: "
            "set HEADRACE_GATEWAY_TOKENS_FILE, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _state_of(path: Path) -> object:
    try:
        state = path.stat()
    except OSError as error:
        return error.errno
    return state.st_mtime_ns, state.st_size, state.st_ino


def _read(path: Path) -> tuple[Grant, ...]:
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX)
        # A stream, of which YAML's errors quote nothing, for the same reason as below.
        grants = _TokensFile.model_validate(yaml.safe_load(io.BytesIO(text))).tokens
    except ValidationError as error:  # without the values: somebody may have written a token where its hash belongs
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False))
        raise TokensUnusable(f"HEADRACE_GATEWAY_TOKENS_FILE {path}: {told}") from None
    except Exception as error:  # YAML passes on whatever a value makes it raise: ValueError (February 30th), RecursionError
        raise TokensUnusable(f"HEADRACE_GATEWAY_TOKENS_FILE {path}: {error}") from error
    if len({grant.sha256 for grant in grants}) != len(grants):
        raise TokensUnusable(f"HEADRACE_GATEWAY_TOKENS_FILE {path}: the same token twice")
    return grants
