"""What became of one sample: its decisions in the latest version and behind it."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headrace.adapters.versions.staging import StagingArea
from headrace.adapters.versions.store import VersionStore
from headrace.adapters.wire import events as wire
from headrace.core.dossiers import Dossier
from headrace.core.versions import RowKind


@dataclass(frozen=True, slots=True)
class Ending:
    """One way a sample ended: the dossier as it was then, where it is kept, and when it ended (Unix seconds; None: not kept).

    `error` is set on dead letters: why no decision could be made.
    """

    where: str
    dossier: Dossier
    ended_at: float | None
    error: str = ""


async def endings(versions: VersionStore, dataset_id: str, sample_id: str) -> list[Ending]:
    """A sample's decisions, oldest first: from the latest version's shards, and staged for the next.

    An accepted revision that a later one replaced is not among them. Reads only row groups that may hold the sample.

    Raises:
        ValueError: the dataset id is no plain name.
        DamagedVersion: an object of the version, or a staged segment, is missing or altered.
        Stop: the store is gone.
    """
    found: list[Ending] = []
    latest = await versions.latest(dataset_id)
    if latest is not None:
        name = f"version {latest.manifest.sequence} ({latest.id[:12]})"
        for kind in (RowKind.ACCEPTED, RowKind.REJECTED):
            for table in await versions.find(latest.manifest, kind, sample_id):
                found += _endings_in(table, f"{name}, {kind.value}")
    inputs = latest.manifest.inputs if latest else {}
    for table in await StagingArea(versions.objects).find(dataset_id, inputs, sample_id):
        found += _endings_in(table, "staged for the next version")
    return sorted(found, key=lambda ending: ending.ended_at or 0)


def _endings_in(table: pa.Table, where: str) -> list[Ending]:
    rows: list[dict[str, Any]] = table.select(["dossier", "decided_at"]).to_pylist()
    return [Ending(where, wire.decode(Dossier, row["dossier"]), row["decided_at"].timestamp()) for row in rows]
