"""Staged rows by the million: a few thousand real ones, drawn again and again under names of their own."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from headrace.adapters.versions.sample_rows import decided_table, embeddings_table
from headrace.adapters.versions.shards import write_segment
from headrace.core.dossiers import Dossier, IndexedSample
from headrace.core.ports.object_store import ObjectStore
from headrace.core.reasons import Reason
from headrace.core.staged import Place, Segment
from tests.fakes.decisions import DATASET, DECIDED, INDEXED, dossier, indexed, place

DRAWN_FROM = 4_000
"""Rows that differ in their texts: more than a row group holds, so that compression finds no row twice."""

SEGMENT_ROWS = 2_000
DIMENSIONS = 64
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "ei", "o", "u") for c in ("n", "rk", "st", "l", "m")]
WORDS_A_ROW = 150
REJECTED_EVERY = 5


class StagedRows:
    """Rows of about a kilobyte of text, a fifth of them rejected; with embeddings, or without."""

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._draws = np.random.default_rng(seed)
        self.decided: list[tuple[Dossier, Place]] = [(self._dossier(n), place(n)) for n in range(DRAWN_FROM)]
        self.indexed: list[tuple[IndexedSample, Place]] = [
            (indexed(f"p{n}", dimensions=DIMENSIONS), place(n, INDEXED)) for n in range(DRAWN_FROM)
        ]
        self._decided_table = decided_table(self.decided)
        self._embeddings = self._with_vectors(embeddings_table(self.indexed))

    async def stage(
        self, store: ObjectStore, rows: int, sample_id: Callable[[int], str], *, rejected: bool = True, embeddings: bool = True
    ) -> None:
        """Write so many rows as segments, the n-th at offset n."""
        known = np.flatnonzero(np.arange(DRAWN_FROM) % REJECTED_EVERY) if not rejected else np.arange(DRAWN_FROM)
        for start in range(0, rows, SEGMENT_ROWS):
            offsets = np.arange(start, min(start + SEGMENT_ROWS, rows))
            ids = [sample_id(int(number)) for number in offsets]
            drawn = self._draws.permutation(known)[: len(offsets)]
            await _put(store, DECIDED, _named(self._decided_table.take(drawn), ids, offsets))
            if embeddings:
                is_accepted = pa.array(drawn % REJECTED_EVERY != 0)
                await _put(store, INDEXED, _named(self._embeddings.take(drawn), ids, offsets).filter(is_accepted))

    def random_id(self, number: int) -> str:
        """An id as producers make them."""
        return f"{self._chance.getrandbits(64):016x}-{number}"

    def _dossier(self, number: int) -> Dossier:
        reason = Reason.ACCEPTED if number % REJECTED_EVERY else Reason.TOO_DENSE
        return dossier(f"p{number}", 0, reason, text=" ".join(self._chance.choices(WORDS, k=WORDS_A_ROW)))

    def _with_vectors(self, table: pa.Table) -> pa.Table:
        for name in ("prompt", "conversation"):
            vectors = self._draws.standard_normal((DRAWN_FROM, DIMENSIONS)).astype("<f4")
            bodies = pa.array([vector.tobytes() for vector in vectors], pa.binary())
            table = table.set_column(table.schema.get_field_index(name), name, bodies)
        return table


def _named(table: pa.Table, ids: Sequence[str], offsets: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Table:
    for name, values in (("sample_id", pa.array(ids, pa.string())), ("offset", pa.array(offsets, pa.int64()))):
        place_of = table.schema.get_field_index(name)
        table = table.set_column(place_of, table.schema.field(place_of), values)
    return table


async def _put(store: ObjectStore, stream: str, table: pa.Table) -> None:
    offsets = table["offset"].to_numpy()
    segment = Segment(stream, int(offsets.min()), int(offsets.max()), table.num_rows)
    await store.put_if_absent(segment.key(DATASET), write_segment(table))
