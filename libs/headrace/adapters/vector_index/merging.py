"""Merges sealed parts into one and builds its graph, in a process of its own: `... grown|fresh DIMENSIONS TARGET COPIES`.

Ends by itself when the process that started it dies: nobody would take the result.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT


def merge_grown(target: Path, copies: Sequence[Path]) -> None:
    """Grow the largest part by the others: the engine carries its graph over, so less is built anew. Younger points count."""
    parts = [shard.load(path) for path in copies]
    base = max(range(len(parts)), key=lambda age: shard.count(parts[age], None))
    for age in [*range(base - 1, -1, -1), *range(base + 1, len(parts))]:
        for page in shard.scroll(parts[age], None, [PROMPT, CONVERSATION]):
            shard.write(parts[base], page, only_new=age < base)
        parts[age].close()
    _finish(parts[base])
    copies[base].rename(target)


def merge_fresh(target: Path, copies: Sequence[Path], dimensions: int) -> None:
    """Write everything anew: where most points have lost their vectors, the engine would keep the room of those."""
    merged = shard.create(target, dimensions)
    for path in copies:
        part = shard.load(path)
        for page in shard.scroll(part, None, [PROMPT, CONVERSATION]):
            shard.write(merged, page, only_new=False)
        part.close()
    _finish(merged)


def _finish(merged: shard.Shard) -> None:
    merged.optimize()
    merged.flush()
    merged.close()


def _end_with_parent() -> None:
    # Ends when the other end of the pipe is closed, if only by death. Not sys.stdin.read(): the interpreter would abort at its
    # own end because a thread holds that file's lock.
    os.read(0, 1)
    os._exit(1)


def main(how: str, dimensions: str, target: str, copies: str) -> None:
    """Merge the copies, named by age, oldest first, and used up by it, into a part that is not there yet."""
    os.nice(5)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    paths = sorted(Path(copies).iterdir())
    if how == "fresh":
        merge_fresh(Path(target), paths, int(dimensions))
    else:
        merge_grown(Path(target), paths)


if __name__ == "__main__":
    main(*sys.argv[1:])
