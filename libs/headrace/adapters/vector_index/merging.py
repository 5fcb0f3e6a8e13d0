"""Merges sealed parts into one and builds its graph, in a process of its own: `python -m ... TARGET COPIES`.

Ends by itself when the process that started it dies: nobody would take the result.
"""

import os
import sys
import threading
from pathlib import Path

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT


def merge(target: Path, sources: Path) -> None:
    """Merge the parts in one folder, which are used up, into a new part; the younger parts' points count."""
    parts = [shard.load(path) for path in sorted(sources.iterdir())]  # named by age, oldest first
    base = max(range(len(parts)), key=lambda age: shard.count(parts[age], None))
    merged = parts[base]  # grown from the largest: the engine carries its graph over, so less is built anew
    for age in [*range(base - 1, -1, -1), *range(base + 1, len(parts))]:
        for page in shard.scroll(parts[age], None, [PROMPT, CONVERSATION]):
            shard.write(merged, page, only_new=age < base)
        parts[age].close()
    merged.optimize()
    merged.flush()
    merged.close()
    sorted(sources.iterdir())[base].rename(target)


def _end_with_parent() -> None:
    # Ends when the other end of the pipe is closed, if only by death. Not sys.stdin.read(): the interpreter would abort at its
    # own end because a thread holds that file's lock.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    os.nice(5)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    merge(Path(sys.argv[1]), Path(sys.argv[2]))
