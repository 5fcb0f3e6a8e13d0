"""How pending and accepted samples are written as points: their ids, payloads and vectors.

Ids follow from what a point stands for, so writing one again replaces it. Pending points carry `order`; marks carry
`settled_at` and no sample, so no lookup finds them.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Payload, Point
from headrace.core.ports.vector_index import (
    Accepted,
    AcceptedPoint,
    Content,
    Earlier,
    PendingPoint,
    Submission,
    Vector,
    Vectors,
)

_NAMESPACE = uuid.UUID("8f2f3f0e-6f43-5d0f-9a53-3f0f6c1f9b57")
_IDS = hashlib.sha1(_NAMESPACE.bytes, usedforsecurity=False)
LABEL_ID = str(uuid.uuid5(_NAMESPACE, "label"))
"""The point that says whose collection it is."""


@dataclass(frozen=True, slots=True)
class Collections:
    """The two collections of one space."""

    flight: str
    accepted: str
    dimensions: int


def pending_id(submission: Submission) -> str:
    """One for each submission, also where a sample is submitted again."""
    return _id("pending", submission.sample_id, submission.revision, submission.order)


def accepted_id(sample_id: str, revision: int) -> str:
    """One for each revision of a sample."""
    return _id("accepted", sample_id, revision)


def replaced_id(sample_id: str, revision: int) -> str:
    """Where the vectors of a revision stay for a while after a later one replaced it."""
    return _id("replaced", sample_id, revision)


def rejected_id(sample_id: str, revision: int) -> str:
    """Where it is kept which content was rejected under a revision of a sample."""
    return _id("rejected", sample_id, revision)


def mark(point_id: str, at: float) -> Point:
    """Stands where a point was, so that it is not added again; `at` is Unix seconds."""
    return Point(point_id, {"settled_at": milliseconds(at)})


def pending_point(point: PendingPoint) -> Point:
    """The submission, its place in the order and since when it is there."""
    submission = point.submission
    payload = {
        **_identity(submission.sample_id, submission.revision, point.content),
        "order": submission.order,
        "entered_at": milliseconds(point.entered_at),
    }
    return Point(pending_id(submission), payload, _named(point.vectors))


def accepted_point(point: AcceptedPoint) -> Point:
    """The revision and its content."""
    payload = _identity(point.sample_id, point.revision, point.content)
    return Point(accepted_id(point.sample_id, point.revision), payload, _named(point.vectors))


def landed_point(submission: Submission, pending: Point) -> Point:
    """The accepted point that a pending one becomes."""
    payload = {name: pending.payload[name] for name in ("sample_id", "revision", "content_hash", "prompt_hash")}
    return Point(accepted_id(submission.sample_id, submission.revision), payload, pending.vectors)


def vectors_of(point: Point) -> Vectors:
    """The two vectors of a point that has them."""
    return Vectors(point.vectors[PROMPT], point.vectors[CONVERSATION])


def earlier_of(payload: Payload, cosine: float | None = None) -> Earlier:
    """What a pending point's payload says."""
    return Earlier(str(payload["sample_id"]), int(payload["revision"]), int(payload["order"]), _content_of(payload), cosine)


def accepted_of(payload: Payload, cosine: float | None) -> Accepted:
    """What an accepted point's payload says."""
    return Accepted(str(payload["sample_id"]), int(payload["revision"]), _content_of(payload), cosine)


def misfit(dimensions: int, vectors: Vectors) -> str:
    """Why vectors cannot lie in a space of so many dimensions, empty where they can."""
    sizes = {len(vectors.prompt), len(vectors.conversation)}
    return "" if sizes == {dimensions} else f"the vectors have {sorted(sizes)} dimensions, those of their space {dimensions}"


def milliseconds(seconds: float) -> int:
    """Whole milliseconds: payload indexes take integers."""
    return int(seconds * 1000)


def _id(kind: str, sample_id: str, *numbers: int) -> str:
    """What `uuid.uuid5` gives, at a quarter of its cost: every sample needs half a dozen of them."""
    digest = _IDS.copy()
    digest.update("\0".join([kind, *map(str, numbers), sample_id]).encode())
    text = digest.hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def _identity(sample_id: str, revision: int, content: Content) -> Mapping[str, str | int]:
    return {
        "sample_id": sample_id,
        "revision": revision,
        "content_hash": content.content_hash,
        "prompt_hash": content.prompt_hash,
    }


def _named(vectors: Vectors) -> Mapping[str, Vector]:
    return {PROMPT: vectors.prompt, CONVERSATION: vectors.conversation}


def _content_of(payload: Payload) -> Content:
    return Content(str(payload["content_hash"]), str(payload["prompt_hash"]))
