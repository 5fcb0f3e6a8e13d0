"""Whether a file that is called .safetensors is one: 8 bytes of header length, a JSON header, then the tensors' bytes.

Everything the header claims is held against the file: a pickle under another name, or a header that points outside the
file, is found without loading anything.
"""

import json
import math
from pathlib import Path
from typing import Any

from headrace.core.checkpoint_manifests import UnsafeCheckpoint

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_BITS = {
    4: ("F4",),
    6: ("F6_E2M3", "F6_E3M2"),
    8: ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
    16: ("U16", "I16", "F16", "BF16"),
    32: ("U32", "I32", "F32"),
    64: ("U64", "I64", "F64", "C64"),
}
_BITS_OF = {dtype: bits for bits, dtypes in _BITS.items() for dtype in dtypes}
_DIMENSIONS_MAX = 64
_SIZE_MAX = 1 << 63


def require_safetensors(path: Path, *, header_bytes_max: int) -> None:
    """Raises UnsafeCheckpoint, naming the file, where it is not in the safetensors format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 0 < length <= size - _LENGTH_BYTES:
            raise _not_one(path, f"its first 8 bytes announce a header of {length} bytes in a file of {size}")
        if length > header_bytes_max:
            raise _not_one(
                path, f"a header of {length} bytes is above HEADRACE_CHECKPOINTS_HEADER_BYTES_MAX ({header_bytes_max})"
            )
        header = file.read(length)
    if not header.startswith(b"{"):
        raise _not_one(path, "its header is not a JSON object")
    try:
        tensors = json.loads(header, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise _not_one(path, f"its header is not JSON: {error}") from error
    spans = sorted(_span(path, name, entry) for name, entry in tensors.items() if name != _METADATA)
    if not spans:
        raise _not_one(path, "it holds no tensor")
    end = 0
    for begin, until, name in spans:
        if begin != end:
            raise _not_one(path, f"tensor {name[:80]!r} begins at byte {begin}, the one before it ends at {end}")
        end = until
    if end != size - _LENGTH_BYTES - length:
        raise _not_one(path, f"its tensors end at byte {end} of {size - _LENGTH_BYTES - length}")


def _span(path: Path, name: str, entry: Any) -> tuple[int, int, str]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        plain = len(shape) <= _DIMENSIONS_MAX and all(
            type(number) is int and 0 <= number < _SIZE_MAX for number in (*shape, begin, end)
        )
        fits = plain and (end - begin) * 8 == math.prod(shape) * _BITS_OF[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise _not_one(path, f"tensor {name[:80]!r} is not described: {error!r}") from error
    if not fits:
        raise _not_one(path, f"tensor {name[:80]!r}: {dtype} of shape {shape} does not fit bytes {begin} to {end}")
    return begin, end, name


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a key appears twice")
    return entries


def _not_one(path: Path, why: str) -> UnsafeCheckpoint:
    return UnsafeCheckpoint(f"{path.name} is no safetensors file: {why}")
