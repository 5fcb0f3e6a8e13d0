"""Merges sealed parts into one and builds its graph, in a process of its own: `python -m ... TARGET COPIES`.

Ends by itself when the process that started it dies: nobody would take the result.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT


def merge(target: Path, copies: Sequence[Path]) -> None:
    """Merge copies of parts, oldest first and used up by it, into a part that is not there yet. Younger points count.

    The largest is grown by the others: the engine carries its graph over, so less is built anew. The room of points that
    were removed is given back.
    """
    parts = [shard.load(path) for path in copies]
    base = max(range(len(parts)), key=lambda age: shard.count(parts[age], None))
    for age in [*range(base - 1, -1, -1), *range(base + 1, len(parts))]:
        for page in shard.scroll(parts[age], None, [PROMPT, CONVERSATION]):
            shard.write(parts[base], page, only_new=age < base)
        parts[age].close()
    parts[base].optimize()
    parts[base].flush()
    parts[base].close()
    copies[base].rename(target)


def _end_with_parent() -> None:
    # Ends when the other end of the pipe is closed, if only by death. Not sys.stdin.read(): the interpreter would abort at its
    # own end because a thread holds that file's lock.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    os.nice(5)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    merge(Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()))
