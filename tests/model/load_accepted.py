"""Reads a dataset (arguments: its id, the broker) with real `DataLoader` workers; prints which worker gave which sample."""

import json
import sys

from torch.utils.data import DataLoader, get_worker_info

from headrace.client import as_iterable_dataset


def told(row: dict) -> dict:
    """The sample, and the worker that this runs in."""
    worker = get_worker_info()
    return {"sample_id": row["sample_id"], "worker": worker.id if worker else -1}


if __name__ == "__main__":
    rows = as_iterable_dataset(sys.argv[1], follow=False, kafka=sys.argv[2]).map(told, remove_columns=["messages"])
    for row in DataLoader(rows, batch_size=None, num_workers=3):
        sys.stdout.write(json.dumps({"sample_id": row["sample_id"], "worker": row["worker"]}) + "\n")
