"""Several items at a time, on their way to a subscriber."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.client.accepted import Item

if TYPE_CHECKING:  # Arrow costs a third of a second
    import pyarrow as pa


@dataclass(slots=True)
class Chunk:
    """Items with the place each one moves the subscriber to, and where it stands once all of them are taken.

    A place is (slot, next): for records slot is the partition and next an offset, for a version's rows slot is minus one minus
    the number of the shard and next the number of its rows taken, both as it was cut. `version` and `until` replace those of the
    subscriber's position, where they are set. A reader of batches gets `rows` instead of items, and stands behind all of them at
    once. Where there are `parts`, those hold everything, in order: smaller chunks that are made as they are taken.
    """

    items: list[Item] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    after: dict[int, int] = field(default_factory=dict)
    version: str | None = None
    until: dict[int, int] | None = None
    rows: "pa.RecordBatch | None" = None
    parts: Iterator["Chunk"] = field(default_factory=lambda: iter(()))
