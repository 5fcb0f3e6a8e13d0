"""Staged segments: which rows lie between a topic and the next version. Pure.

A segment holds one batch's rows of one dataset from one stream, a stream being a topic partition ("decided/00002"). A batch
that is delivered again may be cut differently, so segments overlap; their rows are merged by offset, and overlaps vanish.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.core.topics import DECIDED, INDEXED, MEASURED, RETRACTION_REQUESTED, require_dataset_id, retry_topic_name

DECIDED_STREAM = "decided"
INDEXED_STREAM = "indexed"
RETRACTED_STREAM = "retracted"
MEASURED_STREAM = "measured"
_RETRIED = "retried-"
_STEMS = {
    DECIDED.name: DECIDED_STREAM,
    INDEXED.name: INDEXED_STREAM,
    RETRACTION_REQUESTED.name: RETRACTED_STREAM,
    MEASURED.name: MEASURED_STREAM,
}
_KEY = re.compile(r"staging/[^/]+/(?P<stream>[a-z-]+/\d{5})/(?P<name>[0-9-]+\.parquet)")
_NAME = re.compile(r"(?P<last>\d{20})-(?P<first>\d{20})-(?P<rows>\d{6})\.parquet")
_AFTER_ALL = "~"
"""Sorts after every digit."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """Offsets `first` to `last` of a stream; `rows` of them belong to the dataset."""

    stream: str
    first: int
    last: int
    rows: int

    @property
    def name(self) -> str:
        """The last part of its key: by last offset first, so that listing can begin behind what a version has taken."""
        return f"{self.last:020}-{self.first:020}-{self.rows:06}.parquet"

    def key(self, dataset_id: str) -> str:
        """Where it lies."""
        return f"{stream_prefix(dataset_id, self.stream)}{self.name}"


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows of a segment with offsets above `after`, up to and including `upto`."""

    segment: Segment
    after: int
    upto: int

    @property
    def whole(self) -> bool:
        return self.after < self.segment.first and self.segment.last <= self.upto


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row's event was read, and the event's time in Unix seconds."""

    stream: str
    offset: int
    time: float


def stream_of(topic: str, partition: int) -> str:
    """The stream that a record belongs to; records that came back through a retry topic have offsets of their own.

    Raises:
        ValueError: the topic is not one that is staged.
    """
    for name, stem in _STEMS.items():
        if topic == name:
            return f"{stem}/{partition:05}"
        if topic.startswith(f"{name}."):
            return f"{_RETRIED}{stem}/{partition:05}"
    raise ValueError(f"topic {topic} is not staged")


def stem_of(stream: str) -> str:
    """What the stream carries: DECIDED_STREAM, INDEXED_STREAM, RETRACTED_STREAM or MEASURED_STREAM."""
    return stream.partition("/")[0].removeprefix(_RETRIED)


def source_of(stream: str) -> tuple[str, int]:
    """The topic and partition that a stream is read from, as far as it still says so: of retry topics the one of datasets.

    Raises:
        ValueError: there is no such stream.
    """
    stem, _, partition = stream.partition("/")
    topic = next((name for name, known in _STEMS.items() if known == stem.removeprefix(_RETRIED)), None)
    if topic is None or not partition.isdigit():
        raise ValueError(f"{stream} is no stream")
    return (retry_topic_name(topic, "datasets") if stem.startswith(_RETRIED) else topic), int(partition)


def staging_prefix(dataset_id: str) -> str:
    """Under which a dataset's staged segments lie. Raises ValueError where the dataset id is no plain name."""
    return f"staging/{require_dataset_id(dataset_id)}/"


def stream_prefix(dataset_id: str, stream: str) -> str:
    """Under which one stream's segments lie."""
    return f"{staging_prefix(dataset_id)}{stream}/"


def start_key(dataset_id: str, stream: str, after: int) -> str:
    """Every segment with an offset above `after` has a greater key, and no other segment of the stream has."""
    return f"{stream_prefix(dataset_id, stream)}{after:020}{_AFTER_ALL}" if after >= 0 else stream_prefix(dataset_id, stream)


def end_key(dataset_id: str, stream: str) -> str:
    """Greater than every segment's key of the stream."""
    return f"{stream_prefix(dataset_id, stream)}{_AFTER_ALL}"


def segment_from(key: str) -> Segment | None:
    """The segment that a key names; None where it names none."""
    match = _KEY.fullmatch(key)
    return segment_named(match["stream"], match["name"]) if match else None


def segment_named(stream: str, name: str) -> Segment | None:
    """The segment of that name (`Segment.name`); None where it is none."""
    match = _NAME.fullmatch(name)
    return Segment(stream, int(match["first"]), int(match["last"]), int(match["rows"])) if match else None


def slices(segments: Iterable[Segment], after: int, upto: int | None = None) -> tuple[Slice, ...]:
    """Slices of one stream's segments that hold each offset above `after` (and up to `upto`) exactly once, in order.

    Of two attempts at the same offsets the one with more rows counts: the other was given up before its batch was committed, and
    may have turned away what the later one took.
    """
    taken = after
    result = []
    for segment in sorted(segments, key=lambda segment: (segment.first, segment.last, -segment.rows)):
        end = segment.last if upto is None else min(segment.last, upto)
        if end > taken and segment.first <= end:
            result.append(Slice(segment, taken, end))
            taken = end
    return tuple(result)


def up_to(parts: Iterable[Slice], last: Mapping[Slice, int]) -> tuple[Slice, ...]:
    """The slices of each stream up to its last offset that counts: `last` says which it is in each slice, -1 where none is."""
    ends: dict[str, int] = {}
    for part, offset in last.items():
        ends[part.segment.stream] = max(offset, ends.get(part.segment.stream, -1))
    return tuple(
        Slice(part.segment, part.after, min(part.upto, ends[part.segment.stream]))
        for part in parts
        if max(part.after, part.segment.first - 1) < ends.get(part.segment.stream, -1)
    )


def rows_at_most(parts: Iterable[Slice]) -> int:
    """How many rows slices hold: exact where they are whole, else an upper bound."""
    return sum(min(part.segment.rows, part.upto - max(part.after, part.segment.first - 1)) for part in parts)


@dataclass(frozen=True, slots=True)
class Staged:
    """What lies behind a version: segments by stream, and when the oldest was written (the store's clock, Unix seconds)."""

    segments: Mapping[str, tuple[Segment, ...]]
    inputs: Mapping[str, int]
    oldest: float | None

    def slices(self, *, decided: bool) -> tuple[Slice, ...]:
        """Each staged row exactly once, in the order of streams and offsets: decisions, or else embeddings."""
        return self._slices_of(DECIDED_STREAM if decided else INDEXED_STREAM)

    def retractions(self) -> tuple[Slice, ...]:
        """Each staged retraction exactly once, in the order of streams and offsets."""
        return self._slices_of(RETRACTED_STREAM)

    def _slices_of(self, stem: str) -> tuple[Slice, ...]:
        streams = sorted(stream for stream in self.segments if stem_of(stream) == stem)
        return tuple(part for stream in streams for part in slices(self.segments[stream], self.inputs.get(stream, -1)))
