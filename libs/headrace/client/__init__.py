"""For trainers and producers: read what is admitted, take frozen versions, report checkpoints, submit samples.

    from headrace.client import Accepted, subscribe

Everything that is meant for you is a name of this package; each is loaded when it is first asked for, so that nobody pays for
what he does not use. `pip install headrace[client]` brings what all of it needs; `as_iterable_dataset` needs `datasets` besides,
which comes with `headrace[trainer]`. No FastStream, no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.client.accepted import Accepted, Item, Retracted
    from headrace.client.checkpoints import CheckpointPublished, TrainingData, UnsafeCheckpoint, data_of, publish, publish_sync
    from headrace.client.gathered import Gathered
    from headrace.client.iterable import as_iterable_dataset
    from headrace.client.submission import Answer, NotSubmitted, Refused, Submitted, submit, submit_sync
    from headrace.client.subscription import (
        BadPosition,
        BrokerUnreachable,
        Position,
        PositionGone,
        Stop,
        SubscribeLimits,
        Subscription,
        UnreadableRecord,
        subscribe,
    )
    from headrace.client.versions import DamagedVersion, Datasets, DatasetVersion, NoSuchVersion, RowKind, datasets

__all__ = [
    "Accepted",
    "Answer",
    "BadPosition",
    "BrokerUnreachable",
    "CheckpointPublished",
    "DamagedVersion",
    "DatasetVersion",
    "Datasets",
    "Gathered",
    "Item",
    "NoSuchVersion",
    "NotSubmitted",
    "Position",
    "PositionGone",
    "Refused",
    "Retracted",
    "RowKind",
    "Stop",
    "Submitted",
    "SubscribeLimits",
    "Subscription",
    "TrainingData",
    "UnreadableRecord",
    "UnsafeCheckpoint",
    "as_iterable_dataset",
    "data_of",
    "datasets",
    "publish",
    "publish_sync",
    "submit",
    "submit_sync",
    "subscribe",
]

_OWNERS = {
    "accepted": ("Accepted", "Item", "Retracted"),
    "checkpoints": ("CheckpointPublished", "TrainingData", "UnsafeCheckpoint", "data_of", "publish", "publish_sync"),
    "gathered": ("Gathered",),
    "iterable": ("as_iterable_dataset",),
    "submission": ("Answer", "NotSubmitted", "Refused", "Submitted", "submit", "submit_sync"),
    "subscription": (
        "BadPosition", "BrokerUnreachable", "Position", "PositionGone", "Stop", "SubscribeLimits", "Subscription",
        "UnreadableRecord", "subscribe",
    ),
    "versions": ("DamagedVersion", "DatasetVersion", "Datasets", "NoSuchVersion", "RowKind", "datasets"),
}  # fmt: skip
_OWNER_OF = {name: owner for owner, names in _OWNERS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _OWNER_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_OWNER_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
