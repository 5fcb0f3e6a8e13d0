"""The list that a trainer may keep beside its weights: which samples they have seen."""

import json
from collections.abc import Iterator
from pathlib import Path

from headrace.core.checkpoint_manifests import UnsafeCheckpoint
from headrace.core.checkpoints import SEEN_FILE

_LINE_CHARS_MAX = 64 * 1024
_SHOWN_CHARS = 60


def seen_in(path: Path) -> Iterator[tuple[str, int]]:
    """Id and revision, line by line.

    Raises:
        UnsafeCheckpoint: a line is no JSON array [sample id, revision], in UTF-8; the message names it.
    """
    with path.open(encoding="utf-8", errors="surrogatepass") as lines:
        try:
            number = 0
            while line := lines.readline(_LINE_CHARS_MAX):
                number += 1
                yield _pair(line, number)
        except UnicodeDecodeError as error:
            raise UnsafeCheckpoint(f"{SEEN_FILE}: not UTF-8 behind line {number}: {error}") from error


def _pair(line: str, number: int) -> tuple[str, int]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    match found:
        case [str(sample_id), int(revision)] if revision >= 0 and not isinstance(revision, bool):
            return sample_id, revision
    raise UnsafeCheckpoint(
        f'{SEEN_FILE}, line {number}: {line[:_SHOWN_CHARS]!r} is not ["sample id", revision]: this name is kept for '
        "the list of the samples that were trained on"
    )
