"""Exporting a version: rows are read shard by shard, converted, split and written; then the card and the metadata follow."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.adapters.exports.card import card
from headrace.adapters.exports.contents import ACCEPTED, REJECTED, Contents
from headrace.adapters.exports.croissant import croissant
from headrace.adapters.exports.files import Written, written_file
from headrace.adapters.exports.folder import folder_in_the_making, write_marker
from headrace.adapters.exports.shapes import SHAPES
from headrace.adapters.exports.sink import LEFT_OUT, Sink
from headrace.adapters.versions.store import VersionStore
from headrace.core.exports import LEFT_MEANING, ExportFormat
from headrace.core.versions import RowKind, Version

BATCH_ROWS = 256
"""Rows in memory at a time: few, since one may weigh half a megabyte."""


class NothingToExport(Exception):
    """The version has no row, or no pair, that the form can hold; the message says why."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export. `held_out_share`, 0 to below 1, is the share of prompts whose rows make a split of their own.

    With a policy's share and `held_out_seed` that split is what a trainer holds out (`headrace.core.fine_tuning.is_held_out`).
    `rejected` adds the rejected rows as another configuration; preference pairs have none. `licence` goes into the card.
    """

    format: ExportFormat
    held_out_share: float = 0.0
    held_out_seed: str = ""
    rejected: bool = False
    licence: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"the held-out share is {self.held_out_share:g}; it is 0 or more, and below 1")
        if self.rejected and self.format is ExportFormat.PREFERENCE:
            raise ValueError("preference pairs hold rejected answers already: --rejected goes with the other formats")


def rows_to_read(version: Version, options: ExportOptions) -> int:
    """How many rows an export reads: what its progress counts up to."""
    return sum(shard.rows for kind in _kinds(options).values() for shard in version.manifest.shards_of(kind))


async def export_version(
    store: VersionStore, version: Version, target: Path, options: ExportOptions, on_rows: Callable[[int], None] = lambda _: None
) -> Contents:
    """Write the version to the folder `target`, which appears whole or not at all. The same version gives the same bytes.

    `on_rows` is told how many more rows have been read. Memory does not grow with the version.

    Raises:
        FolderTaken: something else lies in the folder.
        NothingToExport: no row fits the form.
        DamagedVersion, Stop: as the store raises them.
    """
    with folder_in_the_making(target, force=options.force) as folder:
        with ExitStack() as open_files:
            shape = SHAPES[options.format]
            sink = open_files.enter_context(Sink(folder, shape, options.held_out_share, options.held_out_seed))
            if options.format is ExportFormat.PREFERENCE:
                await _export_pairs(store, version, folder / ".work", sink, on_rows)
            else:
                await _export_rows(store, version, options, sink, on_rows)
            contents = await asyncio.to_thread(sink.finish, version, options.licence)
        if not contents.rows:
            raise NothingToExport(_nothing(contents))
        await asyncio.to_thread(_describe, folder, contents)
    return contents


def _kinds(options: ExportOptions) -> dict[str, RowKind]:
    with_rejected = options.rejected or options.format is ExportFormat.PREFERENCE
    return {ACCEPTED: RowKind.ACCEPTED, **({REJECTED: RowKind.REJECTED} if with_rejected else {})}


async def _export_rows(
    store: VersionStore, version: Version, options: ExportOptions, sink: Sink, on_rows: Callable[[int], None]
) -> None:
    for config, kind in _kinds(options).items():
        async for batch in store.rows(version.manifest, kind, sink.shape.columns, BATCH_ROWS):
            await asyncio.to_thread(sink.take, config, batch)
            on_rows(batch.num_rows)


async def _export_pairs(store: VersionStore, version: Version, work: Path, sink: Sink, on_rows: Callable[[int], None]) -> None:
    """Pairs are found across all shards, so all lie on local disk while they are."""
    from headrace.adapters.exports.pairs import Pairs  # noqa: PLC0415 - the other formats need no DuckDB

    await asyncio.to_thread(work.mkdir)
    files: dict[RowKind, list[Path]] = {RowKind.ACCEPTED: [], RowKind.REJECTED: []}
    for kind, paths in files.items():
        for index, shard in enumerate(version.manifest.shards_of(kind)):
            paths.append(work / f"{kind.value}-{index:05}.parquet")
            await store.download(shard, paths[-1])
            on_rows(shard.rows)
    pairs = Pairs(files[RowKind.ACCEPTED], files[RowKind.REJECTED], work)
    await asyncio.to_thread(sink.take_pairs, pairs.read())
    await asyncio.to_thread(shutil.rmtree, work)


def _describe(folder: Path, contents: Contents) -> None:
    """Everything beside the rows. The marker comes last, with the hashes of all the rest."""
    written: list[Written] = [file for split in contents.splits for file in split.files]
    for name, text in (("README.md", card(contents)), ("croissant.json", croissant(contents))):
        (folder / name).write_text(text, encoding="utf-8")
        written.append(written_file(folder / name, folder))
    if contents.left_out:
        written.append(written_file(folder / LEFT_OUT, folder))
    manifest = contents.version.manifest
    about: dict[str, Any] = {
        "dataset": manifest.dataset, "version": contents.version.id, "sequence": manifest.sequence,
        "export": contents.shape.format.value, "rows": contents.rows,
    }  # fmt: skip
    write_marker(folder, about, written)


def _nothing(contents: Contents) -> str:
    manifest, form = contents.version.manifest, contents.shape.format
    named = f"version {manifest.sequence} of {manifest.dataset}"
    left = "; ".join(f"{count}: {LEFT_MEANING[reason]}" for reason, count in sorted(contents.left_out.items()))
    if form is ExportFormat.PREFERENCE:
        why = f"every pair is left out ({left})" if left else (
            "no accepted row shares its prompt with an earlier revision, with what it was refined from, "
            "or with a row whose answer a check failed"
        )  # fmt: skip
        return f"{named} has no preference pairs: {why}"
    return f"{named} has no rows for {form.value}" + (f": {left}" if left else "")
