"""Merges sealed parts into one and builds its graph, in a process of its own: `python -m ... TARGET COPIES`.

Ends by itself when the process that started it dies: nobody would take the result.
"""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace.adapters.vector_index import shard
from headrace.adapters.vector_index.durable import sync, sync_tree
from headrace.adapters.vector_index.engine import CONVERSATION, PROMPT, Point
from headrace.adapters.vector_index.log import NAME, dimensions_of
from headrace.adapters.vector_index.part import holds_log, replayed


def merge(target: Path, copies: Sequence[Path]) -> None:
    """Merge copies of parts, oldest first and used up by it, into a part that is not there yet. Younger points count.

    The largest that the engine built is grown by the others: it carries its graph over, so less is built anew. The room of
    points that were removed is given back. It is on the disk, whole, when this returns: its sources go next.
    """
    built = {age: shard.load(path) for age, path in enumerate(copies) if not holds_log(path)}
    base = max(built, key=lambda age: shard.count(built[age], None), default=-1)
    path = copies[base] if built else copies[0].with_name("merged")
    grown = built.pop(base) if built else shard.create(path, dimensions_of(copies[0] / NAME))
    for age in [*range(base - 1, -1, -1), *range(base + 1, len(copies))]:
        pages = shard.scroll(built[age], None, [PROMPT, CONVERSATION]) if age in built else _logged(copies[age])
        for page in pages:
            shard.write(grown, page, only_new=age < base)
    for each in built.values():
        each.close()
    grown.optimize()
    grown.flush()
    grown.close()
    sync_tree(path)  # copies of the base's files too, which the engine did not write
    path.rename(target)
    sync(target.parent)


def _logged(path: Path) -> Iterator[list[Point]]:
    return replayed(path, dimensions_of(path / NAME)).pages()


def _end_with_parent() -> None:
    # Ends when the other end of the pipe is closed, if only by death. Not sys.stdin.read(): the interpreter would abort at its
    # own end because a thread holds that file's lock.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    os.nice(5)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    merge(Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()))
