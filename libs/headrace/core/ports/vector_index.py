"""The vector index as Headrace needs it: who is pending, who is accepted, and who is near whom."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.core.rejections import Rejection

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Space:
    """Whose vectors may meet: those of one dataset by one version of one embedding model."""

    dataset_id: str
    model: str
    model_version: str


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission of a sample, hence one pending point.

    `order` is its place in the dataset's total order of placement. The same sample may be submitted again: only the order
    tells the two apart.
    """

    space: Space
    sample_id: str
    revision: int
    order: int


@dataclass(frozen=True, slots=True)
class Content:
    """What is compared letter by letter: see `content_hash_of` and `prompt_hash_of`."""

    content_hash: str
    prompt_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """A sample's embeddings, float32 of unit length: dot products are cosines. They are given back bit for bit."""

    prompt: Vector
    conversation: Vector


@dataclass(frozen=True, slots=True, eq=False)
class PendingPoint:
    """A submission on its way to a decision; `entered_at` is Unix seconds by the clock of whoever enters it."""

    submission: Submission
    content: Content
    vectors: Vectors
    entered_at: float


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedPoint:
    """A sample's revision that was accepted and stands."""

    space: Space
    sample_id: str
    revision: int
    content: Content
    vectors: Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is to be known about one submission before it is placed.

    `near_cosine` is the least conversation cosine of a near-duplicate, None where near-duplicates do not count.
    `neighbours` is how many accepted samples nearest by prompt are wanted. `copies_pending` asks for the pending
    submissions with the same prompt too. `parent` is the sample (id, revision) whose text it rewords, None where it rewords none.
    `rejected` asks for the content that was rejected under its id and revision.
    """

    submission: Submission
    content: Content
    vectors: Vectors
    near_cosine: float | None
    neighbours: int
    copies_pending: bool = False
    parent: tuple[str, int] | None = None
    rejected: bool = True


class Standing(Enum):
    """What the index holds of a submission: its pending point, the mark of one that has ended, or nothing."""

    PENDING = "pending"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A pending submission of a lower order. `cosine` is that of the conversations where it was found by it, else None."""

    sample_id: str
    revision: int
    order: int
    content: Content
    cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted sample; `cosine` is that by which it was found, -1 to 1, or None where it was found by identity only."""

    sample_id: str
    revision: int
    content: Content
    cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The answer to one question.

    `earlier` holds the pending submissions of lower orders that share the sample id, the content hash or, where asked for,
    the prompt hash (with certainty), and those of other samples that are near (up to `NEAR_EARLIER_MAX` of them); none
    twice. `akin` holds the accepted revisions of the same sample and the accepted samples with the same content (with
    certainty). `near` is the nearest accepted sample at or above the cosine asked for. `near` and `neighbours` (best
    first) never name the sample itself. `prompt_copies` counts accepted samples with the same prompt, the sample itself
    apart, in whatever spaces they lie, `compared_with` all accepted samples of the space. `retracted` is the highest retracted
    revision of the sample, `parent_retracted` that of the parent in question. `rejected` is the hash of the first content
    that was rejected under the very id and revision (with certainty), None where that was not asked for.
    """

    standing: Standing
    earlier: tuple[Earlier, ...]
    akin: tuple[Accepted, ...]
    near: Accepted | None
    neighbours: tuple[Accepted, ...]
    prompt_copies: int
    compared_with: int
    retracted: int | None = None
    parent_retracted: int | None = None
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Census:
    """What one space holds; `oldest_entered_at` is that of the oldest pending point (Unix seconds), None without one."""

    space: Space
    dimensions: int
    accepted: int
    pending: int
    oldest_entered_at: float | None


NEAR_EARLIER_MAX = 64
"""How many near pending submissions are reported at most: one is enough to wait."""


class VectorIndex(Protocol):
    """Pending and accepted points of every dataset.

    A submission's point is pending from `enter` until `accept` or `release`, which leave a mark in its place. A pending
    point is never entered again once it is settled, so a writer that was suspended and wakes up late cannot bring it back.

    Every method may be called twice, or by two callers at a time, with the same arguments: the outcome is that of one call.
    Writes are visible to every reader when the call returns, and survive the death of the process that made them.

    Every method raises `headrace.core.events.Stop` when the index cannot be reached: the caller keeps its place.
    """

    async def enter(self, points: Sequence[PendingPoint]) -> Sequence[str]:
        """Make these submissions pending unless they are pending or settled already. Creates their spaces.

        Returns for each point the empty string, or why it cannot be entered: its dimensions are not those of its space.
        """
        ...

    async def look(self, questions: Sequence[Question]) -> Sequence[Surroundings]:
        """Answer each question, in order.

        A point that is pending when the call begins and accepted before it ends is reported as earlier, as accepted, or
        as both: never as neither. Points of lower orders are those entered before; nothing is said about higher ones.
        Identity and content are looked up in all spaces of the dataset, cosines in the submission's own.
        """
        ...

    async def pending(self, dataset_id: str, orders: Collection[int]) -> frozenset[int]:
        """Those of the orders whose points are pending."""
        ...

    async def accept(self, submissions: Sequence[Submission]) -> Sequence[Vectors | None]:
        """Turn pending points into accepted ones; accepted lower revisions of the same samples leave.

        The accepted point is visible before the pending one goes, and before a lower revision goes. Returns the embeddings
        of each; also where it was accepted before, and even where a later revision has replaced it since (for as long as
        `sweep` keeps marks). None where the index holds nothing of the submission.
        """
        ...

    async def release(self, submissions: Sequence[Submission]) -> None:
        """End these submissions without acceptance: whoever waited for them need not any more. Accepted points stay."""
        ...

    async def reject(self, dataset_id: str, rejections: Sequence[Rejection]) -> None:
        """Keep for good which content each id and revision belongs to since it was rejected; the first one said stays.

        It is told to those who ask for it (`Question.rejected`), and found by nothing else. To be said before the submission is
        released: one that leaves while `look` is under way is then reported as earlier, or its rejection is.
        """
        ...

    async def retract(self, dataset_id: str, rules: Sequence[tuple[str, int]]) -> None:
        """Forget accepted points for good: of each sample (by id) the revisions up to and including the one given.

        The rule is kept, and is visible before the first point goes. Pending points stay: whoever accepts one must ask
        `retracted` afterwards, and retract again what it names.
        """
        ...

    async def retracted(self, samples: Mapping[str, Collection[str]]) -> Mapping[str, Mapping[str, int]]:
        """Of these samples (by dataset) the highest retracted revisions, by dataset and sample id; others are left out."""
        ...

    async def sweep(self, *, settled_before: float, entered_before: float) -> int:
        """Forget marks set before one time, and pending points entered before another (Unix seconds).

        Returns how many pending points went: each was abandoned by its writer, or its decision took longer than allowed.
        """
        ...

    async def load(self, points: Sequence[AcceptedPoint]) -> Sequence[bool]:
        """Add accepted points, as a dataset's shards or a survey give them; what is there already stays. Creates their spaces.

        Returns for each whether it stands. A revision does not, and is not brought back, where a later one of the sample is
        accepted in any space of the dataset, or where it is retracted: whichever of load, `accept` and `retract` comes first.

        Raises:
            ValueError: a point's dimensions are not those of its space.
        """
        ...

    async def clear(self, space: Space) -> None:
        """Drop a space's accepted points. Pending ones stay."""
        ...

    async def census(self) -> Sequence[Census]:
        """What there is, by space."""
        ...

    async def ping(self) -> None:
        """Return when the index answers."""
        ...

    async def close(self) -> None:
        """Let go of files, processes and connections."""
        ...
