"""Points and questions for tests of vector indexes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.core.ports.vector_index import (
    Content,
    PendingPoint,
    Question,
    Space,
    Submission,
    Surroundings,
    VectorIndex,
    Vectors,
)

DIMENSIONS = 16


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def near(seed: int, step: float = 0.01) -> np.ndarray:
    """A vector whose cosine with `unit(seed)` is about 1 - step²/2."""
    vector = unit(seed).astype(np.float64) + step * unit(seed + 10_000)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def pending(
    space: Space, sample_id: str, order: int, vector: np.ndarray, *, revision: int = 0, content: str = "", prompt: str = "p"
) -> PendingPoint:
    submission = Submission(space, sample_id, revision, order)
    return PendingPoint(
        submission, Content(content or f"content-{sample_id}-{revision}", prompt), Vectors(vector, vector), 1_000.0
    )


def question(point: PendingPoint, *, near_cosine: float | None = 0.999, neighbours: int = 2, copies: bool = False) -> Question:
    return Question(point.submission, point.content, point.vectors, near_cosine, neighbours, copies)


async def look(index: VectorIndex, point: PendingPoint, **kwargs: Any) -> Surroundings:
    [answer] = await index.look([question(point, **kwargs)])
    return answer


def orders(answer: Surroundings) -> list[int]:
    return [each.order for each in answer.earlier]


async def accepted(index: VectorIndex, points: Sequence[PendingPoint]) -> None:
    assert list(await index.enter(points)) == [""] * len(points)
    assert None not in await index.accept([point.submission for point in points])
