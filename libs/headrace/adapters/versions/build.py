"""Building the shards of a version: new rows sorted, replaced rows taken out, small shards merged. Local and blocking.

Everything is decided by the rows alone, so the same parent and the same staged rows give the same shards.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.sample_rows import EmbeddingModel, by_model
from headrace.adapters.versions.shards import LocalShard, ShardLimits, key_columns, read_shard, write_shards
from headrace.adapters.versions.sorted_rows import RowSorter, latest_revisions, merge_sorted
from headrace.core.version_embeddings import Group, carried
from headrace.core.versions import Shard, to_merge

_MERGE_BATCH_ROWS = 1_024
_KEYS_KEPT = 8
"""Shards whose sample ids are in memory at a time: a few megabytes each."""

Fetch = Callable[[Shard], Path]
"""Brings a shard onto local disk, verified. Blocks."""

OpenKeys = Callable[[Shard], pa.Table]
"""Reads a shard's sample ids and revisions. Blocks."""


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of rows of a version under construction: shards that stay, and new ones on local disk."""

    kept: tuple[Shard, ...] = ()
    new: tuple[LocalShard, ...] = ()

    @property
    def shards(self) -> tuple[Shard, ...]:
        return (*self.kept, *(local.shard for local in self.new))

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True, slots=True)
class _Rival:
    """Rows that may overtake others, one for each sample; `keys` reads their sample ids and revisions."""

    shard: Shard
    keys: Callable[[], pa.Table]


class NewRows:
    """Gathers staged rows of one kind and writes them as sorted shards; `latest` keeps one row of each sample."""

    def __init__(self, folder: Path, limits: ShardLimits, run_bytes: int, *, latest: bool) -> None:
        self._folder = folder
        self._limits = limits
        self._run_bytes = run_bytes
        self._latest = latest
        self._sorters: dict[EmbeddingModel, RowSorter] = {}

    def add(self, table: pa.Table) -> None:
        """Take decided rows."""
        self._sorter(("", "", 0)).add(table)

    def add_embeddings(self, staged: pa.Table) -> None:
        """Take staged embeddings; models are kept apart."""
        for model, table in by_model(staged).items():
            self._sorter(model).add(table)

    def written(self) -> tuple[LocalShard, ...]:
        """The rows as shards on local disk."""
        shards: list[LocalShard] = []
        for model in sorted(self._sorters):
            tables = self._sorters[model].tables()
            shards += write_shards(latest_revisions(tables) if self._latest else tables, self._folder, self._limits, model)
        return tuple(shards)

    def _sorter(self, model: EmbeddingModel) -> RowSorter:
        if model not in self._sorters:
            folder = self._folder / f"runs-{len(self._sorters)}"
            folder.mkdir(parents=True)
            self._sorters[model] = RowSorter(folder, self._run_bytes)
        return self._sorters[model]


def without_old_models(table: Table, fresh: Collection[Group]) -> Table:
    """Embeddings without those of models that are carried no longer: whole shards, none of which is read."""
    rows: dict[Group, int] = {}
    for shard in table.shards:
        rows[shard.group] = rows.get(shard.group, 0) + shard.rows
    stay = carried(rows, fresh)
    kept = tuple(shard for shard in table.kept if shard.group in stay)
    return Table(kept, tuple(local for local in table.new if local.shard.group in stay))


class TableEditor:
    """Changes a version's tables by writing affected shards anew."""

    def __init__(self, folder: Path, limits: ShardLimits, fetch: Fetch, open_keys: OpenKeys) -> None:
        self._folder = folder
        self._limits = limits
        self._fetch = fetch
        self._open_keys = open_keys

    def replace_revisions(self, table: Table) -> Table:
        """Leave one row of each sample: of old and new the higher revision, of equal ones the new."""
        new_keys = [_local_keys(local) for local in table.new]
        overtaken_new = [np.zeros(local.shard.rows, dtype=bool) for local in table.new]
        kept: list[Shard] = []
        rewritten: list[LocalShard] = []
        for shard in table.kept:
            rivals = [i for i, local in enumerate(table.new) if _overlap(shard, local.shard) and shard.group == local.shard.group]
            keys = self._open_keys(shard) if rivals else None
            gone = np.zeros(shard.rows, dtype=bool)
            for i in rivals:
                keys_new = new_keys[i]()
                gone |= _overtaken(keys, keys_new, or_equal=True)
                overtaken_new[i] |= _overtaken(keys_new, keys, or_equal=False)
            if gone.any():
                rewritten += self._without(LocalShard(self._fetch(shard), shard), gone)
            else:
                kept.append(shard)
        new = [part for local, gone in zip(table.new, overtaken_new, strict=True) for part in self._without(local, gone)]
        return Table(tuple(kept), (*rewritten, *new))

    def drop_older(self, table: Table, accepted: Sequence[LocalShard], standing: Sequence[Shard]) -> Table:
        """Take out rows of samples that are accepted in a higher revision: embeddings of what is no longer there.

        `accepted` are the newly accepted rows, `standing` the parent's: new embeddings of a sample that was accepted long ago,
        as a survey with another model gives them, may come after its next revision. Where all new embeddings are those of newly
        accepted rows, as they mostly are, the parent's need not be read.
        """
        fresh = self._new_rivals(accepted)
        late = [] if self._are_all(table.new, fresh) else self._standing_rivals(standing)
        return self._without_overtaken(table, fresh, [*fresh, *late], or_equal=False)

    @staticmethod
    def _are_all(new: Sequence[LocalShard], accepted: Sequence[_Rival]) -> bool:
        """Whether each new row is one of the accepted, by sample id and revision."""
        for local in new:
            keys = local_keys(local)
            known = np.zeros(local.shard.rows, dtype=bool)
            for rival in accepted:
                if _overlap(local.shard, rival.shard):
                    known |= _held_against(keys, rival.keys(), pc.equal)
            if not known.all():
                return False
        return True

    def _new_rivals(self, shards: Sequence[LocalShard]) -> list[_Rival]:
        read = lru_cache(_KEYS_KEPT)(local_keys)
        return [_Rival(local.shard, partial(read, local)) for local in shards]

    def _standing_rivals(self, shards: Sequence[Shard]) -> list[_Rival]:
        read = lru_cache(_KEYS_KEPT)(self._open_keys)
        return [_Rival(shard, partial(read, shard)) for shard in shards]

    def drop_retracted(self, table: Table, rules: Table) -> Table:
        """Take out rows that retractions cover. Rows that stay were held against retractions that stay by earlier versions."""
        fresh = self._new_rivals(rules.new)
        standing = self._standing_rivals(rules.kept) if table.new else []
        return self._without_overtaken(table, fresh, [*fresh, *standing], or_equal=True)

    def _without_overtaken(self, table: Table, of_kept: Sequence[_Rival], of_new: Sequence[_Rival], *, or_equal: bool) -> Table:
        kept: list[Shard] = []
        new: list[LocalShard] = []
        for shard, local in [*((shard, None) for shard in table.kept), *((local.shard, local) for local in table.new)]:
            rivals = [rival for rival in (of_new if local else of_kept) if _overlap(shard, rival.shard)]
            gone = np.zeros(shard.rows, dtype=bool)
            if rivals:
                keys = _local_keys(local)() if local else self._open_keys(shard)
                for rival in rivals:
                    gone |= _overtaken(keys, rival.keys(), or_equal=or_equal)
            if gone.any():
                new += self._without(local or LocalShard(self._fetch(shard), shard), gone)
            elif local:
                new.append(local)
            else:
                kept.append(shard)
        return Table(tuple(kept), tuple(new))

    def merge_small(self, table: Table) -> Table:
        """Merge shards until no tier holds too many."""
        while due := to_merge(table.shards, self._limits.shard_rows_max, self._limits.shard_bytes_max):
            hashes = {shard.sha256 for shard in due}
            local = {part.shard.sha256: part.path for part in table.new}
            sources = [_tables(local.get(shard.sha256) or self._fetch(shard), shard) for shard in due]
            merged = write_shards(merge_sorted(sources), self._folder, self._limits, due[0].group)
            table = Table(
                tuple(shard for shard in table.kept if shard.sha256 not in hashes),
                (*(part for part in table.new if part.shard.sha256 not in hashes), *merged),
            )
        return table

    def _without(self, local: LocalShard, gone: npt.NDArray[np.bool_]) -> Iterable[LocalShard]:
        """The shard written again without some of its rows."""
        if not gone.any():
            return (local,)
        return tuple(write_shards(_filtered(local, ~gone), self._folder, self._limits, local.shard.group))


def tally(table: pa.Table, first: str, *more: str) -> dict[str, int]:
    """How many rows hold each value of a column, or of several joined by a blank; rows without the first do not count."""
    values = pc.binary_join_element_wise(table[first], *[pc.fill_null(table[name], "") for name in more], " ")
    return {
        entry["values"].removesuffix(" " if more else ""): entry["counts"]
        for entry in pc.value_counts(values.drop_null()).to_pylist()
    }


def local_keys(local: LocalShard) -> pa.Table:
    """A local shard's sample ids and revisions."""
    with local.path.open("rb") as handle:
        return key_columns(handle, local.shard)


def _local_keys(local: LocalShard) -> Callable[[], pa.Table]:
    return lambda: local_keys(local)


def _overlap(one: Shard, other: Shard) -> bool:
    return one.min_id <= other.max_id and other.min_id <= one.max_id


def _overtaken(keys: pa.Table, others: pa.Table, *, or_equal: bool) -> npt.NDArray[np.bool_]:
    """Which rows have a rival with the same sample id and a higher revision; ids are unique among the rivals."""
    return _held_against(keys, others, pc.greater_equal if or_equal else pc.greater)


def _held_against(keys: pa.Table, others: pa.Table, compare: Callable[..., pa.ChunkedArray]) -> npt.NDArray[np.bool_]:
    """Which rows have one of the same sample id among the others whose revision, compared with theirs, makes it true."""
    same = pc.index_in(keys["sample_id"], value_set=others["sample_id"].combine_chunks())
    revisions = others["revision"].take(pc.fill_null(same, 0))
    held: npt.NDArray[np.bool_] = pc.and_(pc.is_valid(same), compare(revisions, keys["revision"])).to_numpy()
    return held


def _tables(path: Path, shard: Shard) -> Iterator[pa.Table]:
    for batch in read_shard(path, shard, None, _MERGE_BATCH_ROWS):
        yield pa.Table.from_batches([batch])


def _filtered(local: LocalShard, keep: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    start = 0
    for table in _tables(local.path, local.shard):
        mask = keep[start : start + table.num_rows]
        start += table.num_rows
        yield table.filter(pa.array(mask))
