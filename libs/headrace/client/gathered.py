"""The accepted samples that a trainer has gathered: a table on disk, with the position up to which it is filled.

Rows and position are written together, so whoever is killed goes on exactly where the table ends. Memory does not grow with it.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from headrace.core.fine_tuning import draw_of, held_out_bound

_TABLES = """
CREATE TABLE IF NOT EXISTS samples (
    sample_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, prompt_draw INTEGER NOT NULL, draw INTEGER NOT NULL,
    conversation TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_draw ON samples (draw, sample_id, prompt_draw);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_ACCEPT = """
INSERT INTO samples VALUES (?, ?, ?, ?, ?) ON CONFLICT (sample_id) DO UPDATE
SET revision = excluded.revision, prompt_draw = excluded.prompt_draw, conversation = excluded.conversation
WHERE excluded.revision >= revision
"""


class Gathered:
    """Accepted samples by id, the latest revision of each; those that were taken back are gone.

    `seed` chooses which prompts are held out (`headrace.core.fine_tuning.is_held_out`), and the order of the samples: they are
    drawn one by one, so that the first of them are not many answers to few prompts. What was changed is on disk after `keep`.
    It may be used from any thread, from one at a time.
    """

    def __init__(self, path: Path, seed: str) -> None:
        self._seed = seed
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def accept(self, sample_id: str, revision: int, prompt_hash: str, conversation: str = "") -> None:
        """An accepted sample; a later revision replaces an earlier one, with its prompt, never the other way."""
        draws = draw_of(prompt_hash, self._seed), draw_of(sample_id, self._seed)
        self._database.execute(_ACCEPT, (sample_id, revision, *draws, conversation))

    def retract(self, sample_id: str, revision: int) -> None:
        """A sample that is taken back in every revision up to this one."""
        self._database.execute("DELETE FROM samples WHERE sample_id = ? AND revision <= ?", (sample_id, revision))

    def keep(self, **state: str) -> None:
        """Writes all changes since the last call, and with them these facts, at once."""
        self._database.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", state.items())
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def fact(self, name: str) -> str:
        """What was kept under that name; empty where nothing was."""
        row = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def counts(self, held_out_share: float) -> tuple[int, int]:
        """How many samples may be trained on, and how many are held out."""
        query = "SELECT COUNT(*), COUNT(CASE WHEN prompt_draw < ? THEN 1 END) FROM samples"
        everything, held_out = self._database.execute(query, (held_out_bound(held_out_share),)).fetchone()
        return everything - held_out, held_out

    def trained(self, held_out_share: float, rows_max: int = -1) -> Iterator[tuple[str, int, str]]:
        """Id, revision and conversation of those that may be trained on, the first `rows_max` in the order of their draws."""
        return self._drawn(">=", held_out_share, rows_max)

    def held_out(self, held_out_share: float, rows_max: int = -1) -> Iterator[tuple[str, int, str]]:
        """The same for those that are held out."""
        return self._drawn("<", held_out_share, rows_max)

    def _drawn(self, operator: str, share: float, rows_max: int) -> Iterator[tuple[str, int, str]]:
        chosen = f"SELECT sample_id, revision, conversation FROM samples WHERE prompt_draw {operator} ?"  # noqa: S608  # one of two signs
        yield from self._database.execute(f"{chosen} ORDER BY draw, sample_id LIMIT ?", (held_out_bound(share), rows_max))
