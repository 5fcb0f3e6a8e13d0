"""How versions are called: by number, by id or its beginning, by tag, by branch, and so many versions back. Pure."""

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.core.topics import require_dataset_id
from headrace.core.versions import MAIN, REFERENCE_BYTES_MAX, Version, canonical_json, manifest_prefix, stored_from

PREFIX_MIN = 6
"""Fewest hex digits that name a version."""

TAG_BYTES_MAX = REFERENCE_BYTES_MAX

_SEQUENCE_DIGITS = 8
_ID_DIGITS = 64
_TAG = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_HEX = re.compile(r"[0-9a-f]+")
_BACK = re.compile(r"(?P<base>[^~]*)(~(?P<back>\d{1,8}))?")


class NoSuchVersion(LookupError):
    """No version of the dataset, or more than one, has this name."""


@dataclass(frozen=True, slots=True)
class VersionName:
    """One way to say which version; one of the first three is set, and `back` counts towards the first version.

    Both `sequence` and `prefix` are where an id begins with decimal digits only: a number that the dataset has goes first.
    """

    sequence: int | None = None
    prefix: str = ""
    reference: str = ""
    back: int = 0


def version_name(text: str) -> VersionName:
    """What a person called a version: "" or "main" (the latest), "7", "1f3a9c", "a-tag", each followed by "~2" for two before it.

    Raises:
        NoSuchVersion: no version can be called so.
    """
    match = _BACK.fullmatch(text)
    if match is None:
        raise NoSuchVersion(f"{text[:80]!a}: ~ is followed by how many versions to go back, as in {MAIN}~2")
    base, back = match["base"] or MAIN, int(match["back"] or 0)
    prefix = base if _HEX.fullmatch(base) and PREFIX_MIN <= len(base) <= _ID_DIGITS else ""
    if base.isascii() and base.isdigit() and len(base) <= _SEQUENCE_DIGITS:
        return VersionName(sequence=int(base), prefix=prefix, back=back)
    if prefix:
        return VersionName(prefix=prefix, back=back)
    if base != MAIN and not _TAG.fullmatch(base):
        raise NoSuchVersion(
            f"{text[:80]!a} names no version: give its number, {PREFIX_MIN} or more digits of its id, a tag, or {MAIN}~1 for the "
            "one before the latest"
        )
    return VersionName(reference=base, back=back)


def require_tag(tag: str) -> str:
    """The tag, if it can be one. Raises ValueError where it would be read as something else, or is no plain name."""
    if not _TAG.fullmatch(tag) or tag == MAIN or _HEX.fullmatch(tag):
        raise ValueError(
            f"{tag[:80]!a} cannot be a tag: up to 64 lower-case letters, digits and . _ - between them, "
            f"not {MAIN}, and not a name that reads as a number or as the beginning of an id"
        )
    return tag


class Tag(BaseModel):
    """A version's further name: it never moves, and keeps the version from being collected."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    dataset: str
    tag: str
    version: str = Field(pattern="^[0-9a-f]{64}$")
    sequence: int = Field(ge=1)


def tag_of(name: str, version: Version) -> Tag:
    """A tag for a version."""
    return Tag(dataset=version.manifest.dataset, tag=name, version=version.id, sequence=version.manifest.sequence)


def tag_prefix(dataset_id: str) -> str:
    """Under which a dataset's tags lie. Raises ValueError where the dataset id is no plain name."""
    return f"refs/{require_dataset_id(dataset_id)}/tags/"


def tag_key(dataset_id: str, tag: str) -> str:
    """Where a tag lies. Raises ValueError where it cannot be one."""
    return f"{tag_prefix(dataset_id)}{require_tag(tag)}.json"


def tag_bytes(tag: Tag) -> bytes:
    """Equal tags have equal bytes."""
    return canonical_json(tag.model_dump(mode="json"))


def tag_from(body: bytes, key: str) -> Tag:
    """Raises DamagedVersion where the bytes are no tag, or come from a newer release."""
    return stored_from(Tag, body, key)


def listed_version(dataset_id: str, key: str) -> tuple[int, str] | None:
    """The sequence number and the id that a manifest's key tells; None where it is no manifest's."""
    sequence, _, version = key.removeprefix(manifest_prefix(dataset_id)).removesuffix(".json").partition("-")
    return (int(sequence), version) if sequence.isdigit() and len(version) == _ID_DIGITS else None
