"""The plane in which vectors differ most: principal components, the same on every run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

_DIRECTIONS = 2


@dataclass(frozen=True, slots=True)
class Plane:
    """Where it lies, its two directions, and the share of the variance along each, 0 to 1."""

    origin: Points
    directions: Points
    explained: tuple[float, float]

    def of(self, vectors: Vectors) -> Points:
        """Two coordinates for each vector."""
        placed: Points = (vectors.astype(np.float64) - self.origin) @ self.directions.T
        return placed


def plane_of(vectors: Vectors) -> Plane:
    """The plane of the largest variance. Each direction points to where its largest component is positive.

    Without variance (no vector, one, or equal ones) everything lies in the origin and nothing is explained.
    """
    rows, dimensions = vectors.shape
    origin = vectors.astype(np.float64).mean(axis=0) if rows else np.zeros(dimensions)
    centred = vectors.astype(np.float64) - origin
    _, sizes, found = np.linalg.svd(centred, full_matrices=False)
    directions = np.zeros((_DIRECTIONS, dimensions))
    taken = min(_DIRECTIONS, len(sizes))
    directions[:taken] = found[:taken]
    largest = directions[np.arange(_DIRECTIONS), np.abs(directions).argmax(axis=1)]
    directions *= np.where(largest < 0, -1.0, 1.0)[:, np.newaxis]
    variances = np.zeros(_DIRECTIONS)
    variances[:taken] = sizes[:taken] ** 2
    total = float((sizes**2).sum())
    if total <= np.finfo(np.float32).eps ** 2 * max(rows, 1):
        return Plane(origin, np.zeros_like(directions), (0.0, 0.0))
    first, second = (float(each) / total for each in variances)
    return Plane(origin, directions, (first, second))
