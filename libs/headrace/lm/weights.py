"""The name of a set of weights, by which a checkpoint says what it was trained from."""

import hashlib
from pathlib import Path

SUFFIX = ".safetensors"
_BLOCK_BYTES = 1024 * 1024


def weights_sha256(folder: Path) -> str:
    """SHA-256 (lower-case hex) of the folder's weights: of the file's bytes where there is one .safetensors file.

    Of several, it is that of the lines `<sha256>  <name>` of all of them in the order of their names.

    Raises:
        FileNotFoundError: the folder holds no weights.
    """
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no {SUFFIX} file")
    hashes = [_sha256(file) for file in files]
    if len(files) == 1:
        return hashes[0]
    lines = "".join(f"{digest}  {file.name}\n" for digest, file in zip(hashes, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
