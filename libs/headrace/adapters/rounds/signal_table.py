"""The signal table of a round: a row for each row of the dataset version, in rising order of sample ids, in Parquet files."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.adapters.versions.shards import parquet
from headrace.core.dossiers import JUDGED
from headrace.core.retractions import is_retracted
from headrace.core.rounds.moments import Floats
from headrace.core.rounds.rules import Mode
from headrace.core.rounds.selection import Keys
from headrace.core.rounds.signal_rows import Flags, SignalRows, paper_quality
from headrace.core.versions import DamagedVersion

HeldOut = Callable[[str], bool]
"""Whether the prompt with this hash is held out of training."""

_NEIGHBOUR = pa.struct([("sample_id", pa.string()), ("cosine", pa.float64())])
_KEY_CHARS = 64
_KEY_NUMBERS = 2

RULER = "ruler_hash"

SIGNAL_TABLE = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("origin_kind", pa.string(), nullable=False),
        pa.field("loss_post", pa.float64()),  # nats per response token, current model
        pa.field("loss_pre", pa.float64()),  # the same, base model
        *(pa.field(name, pa.float64()) for name in JUDGED),  # 0 to 10; null: the judge's reply could not be read
        pa.field("quality", pa.float64()),  # the mean of the six
        pa.field("density", pa.float64()),  # mean of the top-k prompt cosines over the closed set
        pa.field("neighbours", pa.list_(_NEIGHBOUR)),  # the k of them, nearest first
        pa.field("prompt_tokens", pa.int64()),
        pa.field("response_tokens", pa.int64()),
        pa.field("truncated", pa.bool_()),
        pa.field("not_made", pa.string()),  # why there are no signals; null: there are
        pa.field("merge_key", pa.string()),  # `merge_key_of`, in mode middo_compat alone
        pa.field(RULER, pa.string()),  # what quality was judged by; null: it was not, or an earlier release staged the row
    ]
)
"""Absent numbers are null. The files' rows are in rising order of sample ids, and so are the files."""


@dataclass(frozen=True, slots=True)
class SignalFile:
    """One Parquet file of a signal table, and what to call it when it is damaged."""

    source: Path | BinaryIO
    name: str


def read_batches(files: Sequence[SignalFile], columns: Sequence[str], batch_rows: int) -> Generator[pa.RecordBatch]:
    """Some columns of the table, file by file, in batches of at most so many rows.

    Raises:
        DamagedVersion: a file cannot be read, lacks a column or has it in another type, or, where sample ids are read, its
            rows are not in rising order; the message names the file.
    """
    last = pa.array([], pa.string())
    for file in files:
        with ExitStack() as opened:
            handle = opened.enter_context(file.source.open("rb")) if isinstance(file.source, Path) else file.source
            read = opened.enter_context(parquet(handle, file.name))
            _require_columns(read.schema_arrow, columns, file.name)
            try:
                for batch in read.iter_batches(batch_size=batch_rows, columns=list(columns)):
                    if "sample_id" in columns:
                        last = _last_in_order(last, batch["sample_id"], file.name)
                    yield batch.select(list(columns))
            except (pa.ArrowException, OSError) as error:
                raise DamagedVersion(f"{file.name}: cannot be read: {error}") from error


def number_columns(mode: Mode) -> tuple[str, ...]:
    """The columns that `signal_rows` needs."""
    return ("loss_post", "loss_pre", "density", "not_made", *(JUDGED if mode is Mode.MIDDO_COMPAT else ("quality",)))


def signal_rows(batch: pa.RecordBatch, mode: Mode, retracted: Mapping[str, int], held_out: HeldOut | None = None) -> SignalRows:
    """The batch as numbers.

    `retracted` has the highest retracted revision by sample id, and asks for id and revision too; `held_out` for prompt_hash.
    """
    return SignalRows(
        loss_post=_floats(batch["loss_post"]),
        loss_pre=_floats(batch["loss_pre"]),
        density=_floats(batch["density"]),
        quality=_quality(batch, mode),
        not_made=_flags(pc.is_valid(batch["not_made"])),
        retracted=_retracted(batch, retracted),
        held_out=None if held_out is None else held_out_flags(batch["prompt_hash"], held_out),
    )


def held_out_flags(prompt_hashes: pa.Array, held_out: HeldOut) -> Flags:
    """Which rows have a prompt that is held out."""
    return np.fromiter(map(held_out, prompt_hashes.to_pylist()), dtype=np.bool_, count=len(prompt_hashes))


def merge_keys(column: pa.Array) -> Keys:
    """The first 128 bits of each hash, as two numbers.

    Raises:
        DamagedVersion: a key is missing or is no SHA-256 in hex: the table was not written for mode middo_compat.
    """
    lengths = pc.fill_null(pc.binary_length(column), 0)
    try:
        hashes = bytes.fromhex("".join(column.to_pylist())) if pc.all(pc.equal(lengths, _KEY_CHARS)).as_py() else b""
    except ValueError:
        hashes = b""
    if len(hashes) != len(column) * _KEY_CHARS // 2:
        raise DamagedVersion(
            "signal table: merge_key is missing or no SHA-256 in hex: the table was not written for mode middo_compat"
        )
    numbers = np.frombuffer(hashes, dtype=">u8").reshape(len(column), -1)
    return numbers[:, :_KEY_NUMBERS].astype(np.uint64)


def _require_columns(schema: pa.Schema, columns: Sequence[str], name: str) -> None:
    for column in columns:
        wanted = SIGNAL_TABLE.field(column).type
        if column not in schema.names or schema.field(column).type != wanted:
            raise DamagedVersion(f"{name}: no column {column} of type {wanted}: this is no file of a signal table")


def _last_in_order(last: pa.Array, ids: pa.Array, name: str) -> pa.Array:
    """The last id, once it is seen that each is above the one before it."""
    both = pa.concat_arrays([last, ids])
    if both.null_count or not pc.all(pc.less(both[:-1], both[1:]), min_count=0).as_py():
        raise DamagedVersion(f"{name}: sample ids are not in rising order, or one comes twice")
    return both[-1:]


def _quality(batch: pa.RecordBatch, mode: Mode) -> Floats:
    if mode is Mode.MIDDO_COMPAT:
        return paper_quality(np.column_stack([_floats(batch[name]) for name in JUDGED]))
    return _floats(batch["quality"])


def _floats(column: pa.Array) -> Floats:
    values: Floats = column.to_numpy(zero_copy_only=False)
    return values.astype(np.float64, copy=False)


def _flags(column: pa.Array) -> Flags:
    flags: Flags = column.to_numpy(zero_copy_only=False)
    return flags


def _retracted(batch: pa.RecordBatch, reach: Mapping[str, int]) -> Flags:
    flags = np.zeros(batch.num_rows, dtype=np.bool_)
    if reach:
        for place in np.flatnonzero(_flags(pc.is_in(batch["sample_id"], value_set=pa.array(list(reach), pa.string())))):
            flags[place] = is_retracted(reach, batch["sample_id"][place].as_py(), batch["revision"][place].as_py())
    return flags
