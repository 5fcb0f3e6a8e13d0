"""What an export holds, as its card, its metadata and its report tell it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from headrace.adapters.exports.files import Written
from headrace.adapters.exports.shapes import Shape
from headrace.core.exports import Left
from headrace.core.versions import Version

TRAIN = "train"
HELD_OUT = "test"
"""The splits, as `datasets` calls them."""

ACCEPTED = "default"
REJECTED = "rejected"
"""The configurations: what is loaded unless something else is named, and what --rejected adds."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of one configuration. `pattern` matches its files."""

    config: str
    name: str
    pattern: str
    rows: int
    files: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A finished export. `schema` has the columns that occur; `left_out` counts rows by reason, `found_by` pairs by rule."""

    version: Version
    shape: Shape
    schema: pa.Schema
    splits: tuple[Split, ...]
    left_out: Mapping[Left, int] = field(default_factory=dict)
    found_by: Mapping[str, int] = field(default_factory=dict)
    held_out_share: float = 0.0
    held_out_seed: str = ""
    licence: str = ""

    @property
    def rows(self) -> int:
        return sum(split.rows for split in self.splits)

    @property
    def configs(self) -> dict[str, list[Split]]:
        """The splits by configuration, in order."""
        found: dict[str, list[Split]] = {}
        for split in self.splits:
            found.setdefault(split.config, []).append(split)
        return found
