"""What was retracted, on an engine: one collection for each dataset, whatever its spaces; rules are only ever added.

Each rule has a point of its own, so that writers of lower revisions, late ones too, change nothing.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from headrace.adapters.vector_index.by_dataset import DatasetCollections
from headrace.adapters.vector_index.engine import Engine, Point
from headrace.core.retractions import highest

_IDS = uuid.UUID("0d8f1c52-6a37-5d41-8d57-0f3f5f6f2c11")


class RetractedSamples:
    """The rules of every dataset on one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._collections = DatasetCollections(engine, "retracted")

    async def add(self, dataset_id: str, rules: Sequence[tuple[str, int]]) -> None:
        """Rules as sample ids and highest retracted revisions; those that are there stay."""
        await self._collections.add(dataset_id, [_rule(*rule) for rule in dict.fromkeys(rules)])

    def learn(self, names: Collection[str]) -> None:
        """Takes note of the collections there are."""
        self._collections.learn(names)

    def known_of(self, dataset_id: str) -> bool:
        """Whether the dataset had rules when the collections were last looked at."""
        return self._collections.known_of(dataset_id)

    async def of(self, samples: Mapping[str, Collection[str]]) -> dict[str, dict[str, int]]:
        """The highest retracted revision by dataset and sample id; only those samples that have one."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for dataset_id, sample_ids in samples.items():
            name = await self._collections.name_of(dataset_id) if sample_ids else None
            if name is not None:
                points = await self._engine.find(name, {"sample_id": set(sample_ids)})
                found[dataset_id] = highest((str(p.payload["sample_id"]), int(p.payload["revision"])) for p in points)
        return found


def _rule(sample_id: str, revision: int) -> Point:
    return Point(str(uuid.uuid5(_IDS, f"{revision}\0{sample_id}")), {"sample_id": sample_id, "revision": revision})
