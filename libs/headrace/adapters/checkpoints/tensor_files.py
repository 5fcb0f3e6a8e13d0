"""Safetensors files, tensor by tensor, through NumPy: no pickles, no torch, one tensor in memory at a time."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.adapters.checkpoints.safetensors_header import require_safetensors

Floats = npt.NDArray[np.float32]
FLOATS = frozenset({"F32", "F16", "BF16"})
"""The kinds of numbers that weights are made of here."""

_LENGTH_BYTES = 8
_COPY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: its kind of numbers, its shape, and its bytes from `begin` up to, not including, `end`."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    def read(self) -> Floats:
        """Its numbers in float32; `dtype` is one of FLOATS."""
        with self.file.open("rb") as file:
            file.seek(self.begin)
            body = file.read(self.end - self.begin)
        return _floats(body, self.dtype).reshape(self.shape)


def tensors_of(files: Iterable[Path], *, header_bytes_max: int) -> dict[str, Tensor]:
    """The tensors of one set of weights, by name.

    Raises:
        headrace.core.checkpoint_manifests.UnsafeCheckpoint: a file is not in the safetensors format.
        ValueError: two files hold a tensor of the same name.
    """
    found: dict[str, Tensor] = {}
    for path in files:
        require_safetensors(path, header_bytes_max=header_bytes_max)
        for name, entry, body_at in _entries(path):
            if name in found:
                raise ValueError(f"{path.name} and {found[name].file.name} both hold the tensor {name[:80]}")
            begin, end = entry["data_offsets"]
            found[name] = Tensor(path, name, entry["dtype"], tuple(entry["shape"]), body_at + begin, body_at + end)
    return found


def rewrite(source: Path, target: Path, changed: Mapping[str, Callable[[Floats], Floats]]) -> None:
    """A copy of a file in which the tensors named are replaced by what their functions make of them, in the same dtype."""
    with source.open("rb") as old, target.open("wb") as new:
        length = int.from_bytes(old.read(_LENGTH_BYTES), "little")
        old.seek(0)
        new.write(old.read(_LENGTH_BYTES + length))
        for name, entry, body_at in sorted(_entries(source), key=lambda each: each[1]["data_offsets"][0]):
            begin, end = entry["data_offsets"]
            if name in changed:
                tensor = Tensor(source, name, entry["dtype"], tuple(entry["shape"]), body_at + begin, body_at + end)
                new.write(_bytes(changed[name](tensor.read()), tensor.dtype))
                continue
            old.seek(body_at + begin)
            left = end - begin
            while left:
                block = old.read(min(left, _COPY_BYTES))
                new.write(block)
                left -= len(block)


def _entries(path: Path) -> list[tuple[str, dict[str, Any], int]]:
    """Name, header entry and where the bodies begin, of a file that was found to be one."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
    return [(name, entry, _LENGTH_BYTES + length) for name, entry in header.items() if name != "__metadata__"]


def _floats(body: bytes, dtype: str) -> Floats:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(body, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(body, {"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32)


def _bytes(values: Floats, dtype: str) -> bytes:
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        rounded = bits + 0x7FFF + (bits >> 16 & 1)  # to the nearest, ties to even
        nan = np.isnan(values)
        return np.where(nan, 0x7FC0, rounded >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
