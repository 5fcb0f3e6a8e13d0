"""A MinIO server: found where it is, or built from source with Go. Its makers publish no binaries any more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from headrace.local.cache import cache_folder, once
from headrace.local.launch import StackFailed

BINARY = "HEADRACE_MINIO"
"""Setting that names a MinIO binary; unset: `minio` on the PATH, else the one that `make minio` built."""

MODULE = "github.com/minio/minio"
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
"""The last state of its repository, of February 2026: Go's checksum database says what the source must be."""

_CACHED = f"minio-{VERSION.rpartition('-')[2]}"
_BUILD_S_MAX = 1_800


def find_minio() -> Path | None:
    """The binary to start, None where there is none.

    Raises:
        StackFailed: the setting names something that is no program.
    """
    if named := os.environ.get(BINARY):
        found = shutil.which(named)
        if not found:
            raise StackFailed(f"{BINARY} is {named!r}: no such program")
        return Path(found)
    if found := shutil.which("minio"):
        return Path(found)
    built = cache_folder() / _CACHED / "minio"
    return built if built.exists() else None


def build_minio() -> Path:
    """The binary, built the first time: minutes, with Go and its module proxy.

    Raises:
        StackFailed: there is no Go, or the build failed.
    """
    if not shutil.which("go"):
        raise StackFailed("no `go`: MinIO's server is built from source; install Go, or name a binary in HEADRACE_MINIO")
    return once(_CACHED, _build) / "minio"


def _build(folder: Path) -> None:
    command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"]
    environment = os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": ""}
    try:
        done = subprocess.run(  # noqa: S603  # our own words, and Go as it is found on the PATH
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_BUILD_S_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StackFailed(f"building MinIO took more than {_BUILD_S_MAX} s") from error
    if done.returncode or not (folder / "minio").exists():
        raise StackFailed(f"MinIO cannot be built: {done.stderr.strip()[-500:]}")


def main() -> None:
    """Build it, and say where it is."""
    try:
        sys.stdout.write(f"{build_minio()}\n")
    except StackFailed as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
