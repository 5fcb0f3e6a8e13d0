"""Accepted samples as a `datasets.IterableDataset`, for TRL, `DataLoader` workers and `accelerate` ranks. Needs `datasets`.

    from headrace.client import as_iterable_dataset

    rows = as_iterable_dataset("math", start="latest")
    trainer = SFTTrainer(model, train_dataset=rows, ...)

Any number of ranks (`datasets.distributed.split_dataset_by_node`) and workers divide the topic's partitions and the version's
shards among themselves: every row goes to one of them. `state_dict()` and `load_state_dict()` hold a position token for each, so
a run resumes exactly, with as many ranks and workers as before.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    from datasets import IterableDataset
    from datasets.iterable_dataset import _BaseExamplesIterable
except ModuleNotFoundError as error:
    raise ImportError("as_iterable_dataset needs Hugging Face datasets: pip install 'headrace[trainer]'") from error

from headrace.client.accepted import Accepted
from headrace.client.limits import ClientSettings
from headrace.client.stream import Plan
from headrace.client.subscription import SubscribeLimits, Subscription, planned

if TYPE_CHECKING:
    from headrace.adapters.object_store import ObjectStoreSettings


PARTS = 6_720
"""Into how many parts each rank's rows can be divided. What it divides by without a rest (2 to 8, 10, 12, 14, 15, 16, 20, 24, 28,
32, 40, 48, 56, 64, ...) is a number of ranks for which it need not be told how many there are."""


def as_iterable_dataset(
    dataset: str,
    *,
    start: str = "beginning",
    follow: bool = True,
    ranks: int | None = None,
    kafka: str | None = None,
    store: "ObjectStoreSettings | None" = None,
    limits: SubscribeLimits | None = None,
) -> IterableDataset:
    """The accepted samples of a dataset as rows: `Accepted.row` says what is in one. Retractions are left out.

    `start`, `follow`, `kafka`, `store` and `limits` are those of `headrace.client.subscribe`; a position token is no start here,
    since each worker has its own: load the state instead. `ranks` is into how many parts `split_dataset_by_node` will
    divide it, WORLD_SIZE of the environment where it is left out. Where there are more ranks and workers than partitions or
    shards, several read the same one, and each keeps those of its samples that are its own: with many more of them, more
    partitions save the network something (HEADRACE_PARTITIONS, when the dataset is created). Nothing is connected before the
    first row is asked for.

    Raises:
        ValueError: the start is a position token.
    """
    plan = planned(dataset, start=start, follow=follow, kafka=kafka, store=store, limits=limits)
    if plan.is_resumed:
        raise ValueError("each worker has a position of its own: give the start as at first, then load_state_dict(...)")
    ranks = ranks or ClientSettings().world_size
    return IterableDataset(_AcceptedRows(plan, ranks * PARTS))


class _AcceptedRows(_BaseExamplesIterable):  # type: ignore[misc] # `datasets` publishes no types
    """One share of the rows.

    `datasets` (5.2) has no public way to this: `IterableDataset.from_generator` splits by the lists among its arguments and
    resumes by reading its shard from the start and skipping as many rows as were read, which of a stream without end, whose
    versions differ from day to day, are others. A private class is what its own sources use; the suite reads, splits and
    resumes through it, so that a release that changes it is noticed.
    """

    def __init__(self, plan: Plan, parts: int) -> None:
        super().__init__()
        self._plan = plan
        self._parts = parts

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        state = self._state_dict
        plan = self._plan
        if state and state["position"]:
            plan = replace(plan, start=state["position"])
        with Subscription(plan) as subscription:
            for item in subscription:
                if isinstance(item, Accepted):
                    if state is not None:
                        state["position"] = subscription.position
                    yield f"{item.sample_id}/{item.revision}", item.row()
            if state is not None:
                state["position"] = subscription.position

    @property
    def num_shards(self) -> int:
        return self._parts

    def shuffle_data_sources(self, generator: np.random.Generator) -> "_AcceptedRows":  # noqa: ARG002 - `datasets` asks
        return self  # each sample's order is what makes its latest revision the last

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> "_AcceptedRows":  # noqa: ARG002, FBT001, FBT002 - likewise
        parts = min(num_shards, self._parts)  # whoever comes after that gets nothing, so nothing may be meant for it
        first, of = self._plan.share
        share = (first + index * of, parts * of)
        return _AcceptedRows(replace(self._plan, share=share), max(1, self._parts // parts))

    def reshard_data_sources(self) -> "_AcceptedRows":
        return self

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict: dict[str, Any] | None = {"position": None, "type": type(self).__name__}
        return self._state_dict
