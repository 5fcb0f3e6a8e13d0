"""Which content was first rejected under an id and revision, on an engine: one collection for each dataset, whatever its spaces.

A point is found by its id alone, which follows from sample id and revision: no payload index grows with it, no search meets it.
"""

from collections.abc import Collection, Mapping, Sequence

from headrace.adapters.vector_index.by_dataset import DatasetCollections
from headrace.adapters.vector_index.engine import Engine, Point
from headrace.adapters.vector_index.points import rejected_id
from headrace.core.rejections import Rejection

Key = tuple[str, str, int]
"""Dataset, sample id, revision."""

_CONTENT = "rejected"
"""Not `content_hash`, which has an index that finds samples by it."""


class RejectedContents:
    """The rejections of every dataset on one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._collections = DatasetCollections(engine, "rejected")

    async def add(self, dataset_id: str, rejections: Sequence[Rejection]) -> None:
        """Rejections in the order in which they were decided: of each id and revision the first one stays."""
        first: dict[str, Point] = {}
        for each in rejections:
            point_id = rejected_id(each.sample_id, each.revision)
            first.setdefault(point_id, Point(point_id, {_CONTENT: each.content_hash}))
        await self._collections.add(dataset_id, list(first.values()))

    def learn(self, names: Collection[str]) -> None:
        """Takes note of the collections there are."""
        self._collections.learn(names)

    async def of(self, revisions: Mapping[str, Collection[tuple[str, int]]]) -> dict[Key, str]:
        """The content hashes of those revisions (sample ids and numbers, by dataset) that have one.

        A collection that nobody knew of is asked for once more, so that what was added before this call is always found.
        """
        found: dict[Key, str] = {}
        for dataset_id, mine in revisions.items():
            name = await self._collections.name_of(dataset_id) if mine else None
            if name is not None:
                ids = {rejected_id(*each): each for each in mine}
                points = await self._engine.get(name, list(ids), vectors=False)
                found.update({(dataset_id, *ids[point_id]): str(point.payload[_CONTENT]) for point_id, point in points.items()})
        return found
