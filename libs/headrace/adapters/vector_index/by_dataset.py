"""Collections that hold what is kept of a dataset whatever its spaces: points without vectors, only ever added."""

from collections.abc import Collection, Sequence

from headrace.adapters.vector_index.engine import Engine, Point

_PREFIX = "headrace."
_DIMENSIONS = 1  # a collection needs a size of vector, also one that holds none


class DatasetCollections:
    """One collection of a kind for each dataset, made when its first points come."""

    def __init__(self, engine: Engine, kind: str) -> None:
        self._engine = engine
        self._kind = kind
        self._known: set[str] = set()

    async def add(self, dataset_id: str, points: Sequence[Point]) -> None:
        """Write the points whose ids are not there; the others stay as they are."""
        name = self._name_of(dataset_id)
        if not await self._is_there(name):
            await self._engine.create(name, _DIMENSIONS, searched=False)
        await self._engine.add(name, points)

    def learn(self, names: Collection[str]) -> None:
        """Takes note of the collections there are."""
        self._known.update(name for name in names if name.endswith(f".{self._kind}"))

    def known_of(self, dataset_id: str) -> bool:
        """Whether the dataset had its collection when the collections were last looked at."""
        return self._name_of(dataset_id) in self._known

    async def name_of(self, dataset_id: str) -> str | None:
        """The dataset's collection, None where nobody has made it by now."""
        name = self._name_of(dataset_id)
        return name if await self._is_there(name) else None

    async def _is_there(self, name: str) -> bool:
        if name not in self._known and name in await self._engine.names():
            self._known.add(name)
        return name in self._known

    def _name_of(self, dataset_id: str) -> str:
        return f"{_PREFIX}{dataset_id}.{self._kind}"
