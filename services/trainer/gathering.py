"""Filling the table of accepted samples: from a version, or by following what is accepted."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator

from headrace.adapters.versions.store import VersionStore
from headrace.client import Accepted, Gathered, Item, Subscription
from headrace.client.accepted import accepted_from
from headrace.core.positions import position_from
from headrace.core.versions import RowKind, Version

_WHOLE = "whole"
_POSITION = "position"
_NEW = "new"
_ROUND = "round"
"""Set while the checkpoint of a position is not made."""
_KEEP_ROWS = 500
_SILENCE_S = 1.0


async def gather_version(gathered: Gathered, versions: VersionStore, version: Version) -> None:
    """Takes all accepted rows of a version; at once where that was done before.

    Raises:
        DamagedVersion: a shard is missing or altered.
        Stop: the object store is gone.
    """
    if gathered.fact(_WHOLE) == version.id:
        return
    async for batch in versions.rows(version.manifest, RowKind.ACCEPTED, ["dossier"]):
        for dossier in batch["dossier"].to_pylist():
            _take(gathered, accepted_from(dossier))
        gathered.keep()
    gathered.keep(**{_WHOLE: version.id})


def position_in(gathered: Gathered) -> str:
    """The token of the position up to which the table is filled; empty where nothing was followed yet."""
    return gathered.fact(_POSITION)


async def rounds(gathered: Gathered, subscription: Subscription, *, every_rows: int, every_s: float) -> AsyncGenerator[str, None]:
    """The position at which it is time to train, each time: the table is filled exactly up to there.

    It is time after `every_rows` new acceptances, or once `every_s` seconds (0: never) have passed and there is any; and
    where the subscription ends. Rows, position and their number are kept together, and a round is owed until `round_done`:
    a restart loses and repeats nothing.

    Raises: see `headrace.client.Subscription`.
    """
    if gathered.fact(_ROUND):
        yield position_in(gathered)
    new, unkept, began = int(gathered.fact(_NEW) or 0), 0, time.monotonic()
    following, waiting = True, asyncio.ensure_future(anext(subscription, None))
    try:
        while following:
            await asyncio.wait({waiting}, timeout=_patience(began, every_s if new else 0, unkept))
            arrived = waiting.done()
            if arrived:
                item = waiting.result()
                following = item is not None
                if item is not None:
                    new, unkept = new + _take(gathered, item), unkept + 1
            elapsed = every_s and new and time.monotonic() - began >= every_s
            if (new >= every_rows or elapsed or (new and not following)) and _behind_version(subscription):
                new = 0
                _keep(gathered, subscription, new, due=True)
                yield position_in(gathered)
                unkept, began = 0, time.monotonic()
            elif unkept >= _KEEP_ROWS or (unkept and not arrived):
                _keep(gathered, subscription, new, due=False)
                unkept = 0
            if arrived:  # only now: the next item must not move the position before this one is kept
                waiting = asyncio.ensure_future(anext(subscription, None))
    finally:
        waiting.cancel()


def round_done(gathered: Gathered) -> None:
    """The checkpoint of the latest round is published."""
    gathered.keep(**{_ROUND: ""})


def _patience(began: float, every_s: float, unkept: int) -> float | None:
    """How long to wait for the next item: until it is time, but what was taken is kept after a second of silence."""
    left = max(0.0, began + every_s - time.monotonic()) if every_s else None
    if not unkept:
        return left
    return _SILENCE_S if left is None else min(_SILENCE_S, left)


def _behind_version(subscription: Subscription) -> bool:
    """Whether the version's rows are all taken, so that the position is one that a checkpoint can name."""
    token = subscription.position
    return token is not None and bool(position_from(token).offsets)


def _keep(gathered: Gathered, subscription: Subscription, new: int, *, due: bool) -> None:
    gathered.keep(**{_POSITION: subscription.position or "", _NEW: str(new), _ROUND: "due" if due else ""})


def _take(gathered: Gathered, item: Item) -> int:
    """Takes one item; 1 where it was an acceptance."""
    if isinstance(item, Accepted):
        row = item.row()
        conversation = json.dumps({"messages": row["messages"], "tools": row["tools"]})
        gathered.accept(item.sample_id, item.revision, row["prompt_hash"], conversation)
        return 1
    gathered.retract(item.sample_id, item.revision)
    return 0
