"""What was trained on as it came: every revision that was read, with what became of it since. A table on disk."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from headrace.core.fine_tuning import draw_of, held_out_bound

_TABLES = """
CREATE TABLE seen (
    sample_id TEXT NOT NULL, revision INTEGER NOT NULL, prompt_draw INTEGER NOT NULL, draw INTEGER NOT NULL,
    PRIMARY KEY (sample_id, revision)
) WITHOUT ROWID;
CREATE TABLE known (sample_id TEXT PRIMARY KEY, latest INTEGER NOT NULL, retracted INTEGER NOT NULL) WITHOUT ROWID;
"""
_KNOWN = """
INSERT INTO known VALUES (?, ?, ?) ON CONFLICT (sample_id) DO UPDATE
SET latest = MAX(latest, excluded.latest), retracted = MAX(retracted, excluded.retracted)
"""
_LISTED = """
SELECT seen.sample_id, revision, latest, retracted FROM seen JOIN known USING (sample_id) WHERE prompt_draw {operator} ?
ORDER BY draw, seen.sample_id, revision
"""


class Seen(NamedTuple):
    """A sample that a checkpoint has seen; `since` says what became of that revision afterwards, empty where it stands."""

    sample_id: str
    revision: int
    since: str = ""


class SeenTable:
    """Revisions that were seen, and the latest that is known of their samples. Memory does not grow with it."""

    def __init__(self, path: Path, seed: str) -> None:
        self._seed = seed
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def accept(self, sample_id: str, revision: int, prompt_hash: str) -> None:
        """A revision that was seen."""
        draws = draw_of(prompt_hash, self._seed), draw_of(sample_id, self._seed)
        self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", (sample_id, revision, *draws))
        self.know(sample_id, latest=revision)

    def know(self, sample_id: str, *, latest: int = -1, retracted: int = -1) -> None:
        """That a revision was accepted, or that those up to one were taken back, whether that was read or not."""
        self._database.execute(_KNOWN, (sample_id, latest, retracted))

    def trained(self, held_out_share: float) -> Iterator[Seen]:
        """Those that were trained on, revision by revision."""
        return self._listed(">=", held_out_share)

    def held_out(self, held_out_share: float) -> Iterator[Seen]:
        """Those that were kept back."""
        return self._listed("<", held_out_share)

    def _listed(self, operator: str, share: float) -> Iterator[Seen]:
        rows = self._database.execute(_LISTED.format(operator=operator), (held_out_bound(share),))
        for sample_id, revision, latest, retracted in rows:
            yield Seen(sample_id, revision, _since(revision, latest, retracted))


def _since(revision: int, latest: int, retracted: int) -> str:
    if retracted >= revision:
        return "retracted since"
    return f"revision {revision} of {latest}" if latest > revision else ""
