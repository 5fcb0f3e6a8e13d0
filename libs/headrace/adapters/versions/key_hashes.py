"""Rows by one number each, so that a million of them can be compared in a few bytes a row."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KeyHashes = npt.NDArray[np.int64]
"""One number for each row, equal for equal rows within this process."""


def key_hashes(keys: pa.Table) -> KeyHashes:
    """One number for each row's sample id and revision."""
    pairs = zip(keys["sample_id"].to_pylist(), keys["revision"].to_pylist(), strict=True)
    return np.fromiter((hash(pair) for pair in pairs), dtype=np.int64, count=keys.num_rows)


class WantedRows:
    """Rows that are waited for, and which of them have come: nine bytes a row."""

    def __init__(self, hashes: Sequence[KeyHashes]) -> None:
        everything = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *hashes]))
        # np.unique takes ten times as long: it hashes what is hashed already.
        self._wanted: KeyHashes = everything[np.append(True, everything[1:] != everything[:-1])[: len(everything)]]
        self._came = np.zeros(len(self._wanted), dtype=bool)

    def come(self, hashes: KeyHashes) -> npt.NDArray[np.bool_]:
        """Which of these rows are wanted; they are noted as having come."""
        if not len(self._wanted):
            return np.zeros(len(hashes), dtype=bool)
        places = np.minimum(np.searchsorted(self._wanted, hashes), len(self._wanted) - 1)
        found: npt.NDArray[np.bool_] = self._wanted[places] == hashes
        self._came[places[found]] = True
        return found

    @property
    def all_came(self) -> bool:
        """Whether nothing is waited for any more."""
        return bool(self._came.all())
