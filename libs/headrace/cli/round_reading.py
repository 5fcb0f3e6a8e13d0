"""What the commands on rounds read: states, and the histograms of a survey's signal table."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.failures import CannotDo

if TYPE_CHECKING:  # clients cost most of a second that `headrace --help` need not pay
    from collections.abc import AsyncIterator

    from headrace.adapters.rounds.round_states import RoundStates
    from headrace.core.rounds.progress import RoundState
    from headrace.core.rounds.report.distributions import Histogram

SIGNALS = ("loss_post", "density", "quality")
"""The columns of the signal table that `watch` draws: one for each axis."""

_TABLE_BYTES_MAX = 4 * 1024**3
_PAGE_BYTES_MAX = 256 * 1024**2


@asynccontextmanager
async def open_states() -> "AsyncIterator[RoundStates]":
    """All rounds as they stand; `refresh` brings them up to date."""
    from headrace.adapters.rounds.round_states import RoundStates  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    async with RoundStates.opened(RuntimeSettings().kafka) as states:
        await states.refresh()
        yield states


async def read_states() -> "RoundStates":
    """All rounds as they stand now."""
    async with open_states() as states:
        return states


def chosen(states: "RoundStates", dataset: str, round_id: str = "") -> "RoundState":
    """A dataset's round: the one whose id begins so; else the one that runs, else the latest that began.

    Raises:
        CannotDo: there is none, or several begin so.
    """
    known = states.of_dataset(dataset)
    found = [state for state in known if state.round_id.startswith(round_id)] if round_id else known
    if round_id and len(found) != 1:
        many = "several rounds" if found else "no round"
        raise CannotDo(f"{many} of {dataset} begin with {round_id}: `headrace round ls {dataset}`")
    begun = [state for state in found if state.ordinal] or found
    if not begun:
        raise CannotDo(f"dataset {dataset} has had no round: `headrace round start {dataset}` begins one")
    return next((state for state in begun if state.running), begun[-1])


def record_of_state(state: "RoundState") -> dict[str, Any]:
    """The state as JSON values: thresholds and rules are objects, not texts."""
    record = asdict(state)
    record["begun"]["rules"] = json.loads(record["begun"].pop("rules_json"))
    if record["selected"] is not None:
        record["selected"]["thresholds"] = json.loads(record["selected"].pop("thresholds_json"))
    return record


def bounds_of(state: "RoundState") -> dict[str, float]:
    """The thresholds by column of the signal table; none before they are computed."""
    if state.selected is None:
        return {}
    axes = json.loads(state.selected.thresholds_json).get("axes", [])
    bounds = [bound for axis in axes for bound in axis["threshold"]["bounds"]]
    return {bound["column"]: bound["bound"] for bound in bounds if bound["bound"] is not None}


async def write_report(dataset: str, round_id: str, out: Path | None) -> tuple[str, Path]:
    """Store the round's report, and a copy of it on this machine; returns its key and the file.

    Raises:
        CannotDo: there is no such round, or the file cannot be written.
        DamagedVersion: an object that the report is about cannot be read.
        Stop: the object store is gone.
    """
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.adapters.rounds.report.storing import store_report  # noqa: PLC0415

    states = await read_states()
    state = chosen(states, dataset, round_id)
    path = out or Path(f"round-{state.round_id}.html")
    async with open_object_store(ObjectStoreSettings()) as objects:
        key = await store_report(objects, state, states.of_dataset(dataset))
        try:
            await objects.fetch(key, path, bytes_max=_PAGE_BYTES_MAX)
        except OSError as error:
            raise CannotDo(f"{path}: {error.strerror or error}") from error
    return key, path


async def histograms_of(state: "RoundState") -> "Mapping[str, Histogram]":
    """The signals' histograms by column, once the round's table is there; none before that, or where it is too large to fetch.

    Raises:
        DamagedVersion: the table cannot be read.
        Stop: the object store is gone.
    """
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415
    from headrace.core.ports.object_store import ObjectMissing, ObjectTooLarge  # noqa: PLC0415
    from headrace.core.rounds.stored import signals_key  # noqa: PLC0415

    if state.selected is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="headrace-watch-") as folder:
        path, key = Path(folder) / "signals.parquet", signals_key(state.begun.survey)
        try:
            async with open_object_store(ObjectStoreSettings()) as objects:
                await objects.fetch(key, path, bytes_max=_TABLE_BYTES_MAX)
        except (ObjectMissing, ObjectTooLarge):
            return {}
        return await asyncio.to_thread(_counted, path, key, state)


def _counted(path: Path, key: str, state: "RoundState") -> "Mapping[str, Histogram]":
    from headrace.adapters.rounds.report.limits import ReportLimits  # noqa: PLC0415
    from headrace.adapters.rounds.report.table_reading import SignalTableReading  # noqa: PLC0415
    from headrace.adapters.rounds.signal_table import SignalFile  # noqa: PLC0415
    from headrace.core.rounds.policy import RoundPolicy  # noqa: PLC0415

    mode = RoundPolicy.model_validate_json(state.begun.rules_json).mode
    marks = {column: (bound,) for column, bound in bounds_of(state).items()}
    numbers, _ = SignalTableReading(SignalFile(path, key), None, mode, ReportLimits()).numbers(marks)
    return {column: numbers.histograms[column] for column in SIGNALS if column in numbers.histograms}
