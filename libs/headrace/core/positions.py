"""Where a subscriber stands, as a short text that fits into a checkpoint."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from headrace.core.topics import require_dataset_id

FORMAT = 1
"""Raised when an older reader would misread a position."""

TOKEN_CHARS_MAX = 256 * 1024
"""Longest token that is looked at: thousands of partitions fit."""

_TOKEN = re.compile(r"hr([0-9]{1,6})\.([A-Za-z0-9_-]*)\.([0-9a-f]{16})")
_SHOWN_CHARS = 24


class BadPosition(ValueError):
    """A position token is garbled, of another dataset or share, or from a newer release; the message says which."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a subscriber has taken: `row` rows of the version's shard number `shard` and all rows of those before, then records.

    Shards and rows count as the version was cut, whatever was forgotten since.
    `share` is (index, of): which part of the dataset this is. `version` is empty where none was taken. `offsets` says for each
    partition which record comes next; it is empty until the rows are done. Below the offsets `until` the topic may repeat
    what the version holds; a partition that is past that is not in it. `since` are the offsets at which records began to be read,
    `repeats` what `until` was then: both stay as they were, also when the reader goes on from a token. Tokens of earlier releases
    have neither.
    """

    dataset_id: str
    share: tuple[int, int] = (0, 1)
    version: str = ""
    shard: int = 0
    row: int = 0
    offsets: Mapping[int, int] = field(default_factory=dict)
    until: Mapping[int, int] = field(default_factory=dict)
    since: Mapping[int, int] = field(default_factory=dict)
    repeats: Mapping[int, int] = field(default_factory=dict)

    def token(self) -> str:
        """The text of the position: letters, digits, dots, hyphens and underscores."""
        fields = {
            "dataset": self.dataset_id, "share": self.share, "version": self.version, "shard": self.shard, "row": self.row,
            "offsets": self.offsets, "until": self.until, "since": self.since, "repeats": self.repeats,
        }  # fmt: skip
        body = json.dumps({name: value for name, value in fields.items() if value}, sort_keys=True, separators=(",", ":"))
        payload = base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
        return f"hr{FORMAT}.{payload}.{_checksum(FORMAT, payload)}"


class _Stored(BaseModel):
    """A position as JSON; keys of a newer release are ignored, the format number says when they may not be."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    share: tuple[int, int] = (0, 1)
    version: str = Field("", pattern="^([0-9a-f]{64})?$")
    shard: int = Field(0, ge=0)
    row: int = Field(0, ge=0)
    offsets: Mapping[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    until: Mapping[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    since: Mapping[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)
    repeats: Mapping[NonNegativeInt, NonNegativeInt] = Field(default_factory=dict)


def is_token(text: str) -> bool:
    """Whether the text looks like a position token, sound or not."""
    return text.startswith("hr") and text.count(".") == 2 and text[2 : text.find(".")].isdigit()  # noqa: PLR2004 - three parts


def position_from(token: str, dataset_id: str | None = None, share: tuple[int, int] | None = None) -> Position:
    """The position that a token stands for; where `dataset_id` or `share` are given, it must be theirs.

    Raises:
        BadPosition: it is not, or the token is garbled or from a newer release.
    """
    match = _TOKEN.fullmatch(token) if len(token) <= TOKEN_CHARS_MAX else None
    if match is None:
        raise BadPosition(f"{token[:_SHOWN_CHARS]!r} is no position token: it is cut off, or was never one")
    written, payload, checksum = int(match[1]), match[2], match[3]
    if _checksum(written, payload) != checksum:
        raise BadPosition(f"the position token {token[:_SHOWN_CHARS]!r}... is garbled: its checksum does not fit")
    if written > FORMAT:
        raise BadPosition(f"the position token is in format {written}, this release reads up to {FORMAT}: update headrace")
    stored = _stored_from(payload)
    if dataset_id is not None and stored.dataset != dataset_id:
        raise BadPosition(f"the position token belongs to dataset {stored.dataset}, not {dataset_id}")
    if share is not None and stored.share != share:
        theirs, ours = (f"part {index} of {of}" for index, of in (stored.share, share))
        raise BadPosition(f"the position token belongs to {theirs}, not {ours}: resume with as many ranks and workers as before")
    return Position(
        stored.dataset,
        stored.share,
        stored.version,
        stored.shard,
        stored.row,
        dict(stored.offsets),
        dict(stored.until),
        dict(stored.since),
        dict(stored.repeats),
    )


def require_share(share: tuple[int, int]) -> tuple[int, int]:
    """The share itself. Raises ValueError where it is not (index, of) with 0 <= index < of."""
    index, of = share
    if not 0 <= index < of:
        raise ValueError(f"a share is (index, of) with 0 <= index < of, not {share!r}")
    return index, of


def _stored_from(payload: str) -> _Stored:
    try:
        body: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        stored = _Stored.model_validate(body)
        require_dataset_id(stored.dataset)
        require_share(stored.share)
    except (ValueError, RecursionError) as error:
        raise BadPosition(f"the position token holds no position: {error}") from error
    return stored


def _checksum(written: int, payload: str) -> str:
    return hashlib.sha256(f"hr{written}.{payload}".encode()).hexdigest()[:16]
