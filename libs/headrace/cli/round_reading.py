"""What the commands on rounds read: states, and the histograms of a survey's signal table."""

import contextlib
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.failures import CannotDo

if TYPE_CHECKING:  # clients cost most of a second that `headrace --help` need not pay
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from headrace.adapters.rounds.round_states import RoundStates
    from headrace.core.ports.object_store import ObjectStore
    from headrace.core.rounds.report.distributions import Histogram
    from headrace.core.rounds.state import RoundState

_LOOK_S = 5.0
"""How often `watch` looks at the rows measured so far."""
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


class Histograms:
    """The signals' histograms of the round that is watched, by column: a sketch while it is surveyed, then all rows'."""

    def __init__(self, open_objects: "Callable[[], AbstractAsyncContextManager[ObjectStore]] | None" = None) -> None:
        from headrace.adapters.rounds.signal_histograms import Sketch  # noqa: PLC0415

        self._open = open_objects or _object_store
        self._sketch = Sketch()
        self._found: Mapping[str, Histogram] = {}
        self._next_look = 0.0
        self._has_all = False

    async def of(self, state: "RoundState", now: float) -> "Mapping[str, Histogram]":
        """What is known of them; the object store is asked every few seconds, and not any more once all rows are counted.

        Without the object store there are none, and the rest of the view is there all the same.
        """
        from headrace.adapters.rounds.signal_histograms import stored_histograms  # noqa: PLC0415
        from headrace.core.events import Stop  # noqa: PLC0415
        from headrace.core.versions import DamagedVersion  # noqa: PLC0415

        survey, is_selected = state.begun.survey, state.selected is not None
        if self._has_all or (now < self._next_look and not is_selected):
            return self._found
        self._next_look, self._has_all = now + _LOOK_S, is_selected
        with contextlib.suppress(Stop, DamagedVersion):  # gone for now, or collected since
            async with self._open() as objects:
                found = await (stored_histograms(objects, survey) if is_selected else self._sketch.look(objects, survey))
            self._found = found or self._found
        return self._found


def _object_store() -> "AbstractAsyncContextManager[ObjectStore]":
    from headrace.adapters.object_store import ObjectStoreSettings, open_object_store  # noqa: PLC0415

    return open_object_store(ObjectStoreSettings())
