"""Preference pairs of a version, found by DuckDB over local copies of its shards: memory is bounded, the rest spills to disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from headrace.core.exports import NOT_OF_ANSWERS, Answer, Fields, Left, PairRule, to_preference
from headrace.core.reasons import Reason

MEMORY_MAX = "512MB"
"""What DuckDB may hold; it takes it from here, not from the size of the machine."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": MEMORY_MAX,
    "threads": 2,
    "preserve_insertion_order": False,
}
_BATCH_ROWS = 256
_ANSWERS = """
CREATE VIEW {name} AS
SELECT sample_id, revision, content_hash, prompt_hash, reason, detail, origin_kind, origin_parent_ids, messages, tools_json,
       filename AS file, file_row_number AS row
FROM read_parquet([{files}], filename = true, file_row_number = true, union_by_name = true)
"""

_FIND = """
CREATE TABLE pair AS
WITH
-- Where one rejected row is there several times (it was sent again), the first stands for all.
worse AS (
    SELECT sample_id, revision, content_hash, prompt_hash, file, row,
           reason = $check_failed AND NOT starts_with(coalesce(detail, ''), $not_of_answers || ':') AS answer_failed
    FROM rejected WHERE prompt_hash IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY sample_id, revision, content_hash ORDER BY NOT answer_failed, file, row) = 1
),
better AS (SELECT sample_id, revision, content_hash, prompt_hash, origin_kind, origin_parent_ids, file, row FROM accepted),
parent AS (SELECT sample_id, revision, content_hash, prompt_hash, file, row FROM worse
           UNION ALL SELECT sample_id, revision, content_hash, prompt_hash, file, row FROM better),
child AS (SELECT *, unnest(list_distinct(origin_parent_ids)) AS parent_id FROM better WHERE origin_kind = 'refined'),
-- Each failed answer stands against one accepted answer, in turn: as many pairs as failed answers, not their product.
numbered AS (SELECT *, row_number() OVER (PARTITION BY prompt_hash ORDER BY sample_id) - 1 AS number,
                    count(*) OVER (PARTITION BY prompt_hash) AS answers FROM better),
answers AS (SELECT prompt_hash, any_value(answers) AS answers FROM numbered GROUP BY prompt_hash),
failed AS (SELECT *, row_number() OVER (PARTITION BY prompt_hash ORDER BY sample_id, revision, content_hash) - 1 AS number
           FROM worse WHERE answer_failed),
found AS (
    SELECT 0 AS rule, a.file AS better_file, a.row AS better_row, o.file AS worse_file, o.row AS worse_row
    FROM better a JOIN worse o ON o.sample_id = a.sample_id AND o.prompt_hash = a.prompt_hash AND o.revision < a.revision
    UNION ALL
    SELECT 1, a.file, a.row, o.file, o.row
    FROM child a JOIN parent o ON o.sample_id = a.parent_id AND o.prompt_hash = a.prompt_hash
    WHERE (o.sample_id, o.revision) <> (a.sample_id, a.revision)
    UNION ALL
    SELECT 2, a.file, a.row, o.file, o.row
    FROM failed o JOIN answers n ON n.prompt_hash = o.prompt_hash
    JOIN numbered a ON a.prompt_hash = o.prompt_hash AND a.number = o.number % n.answers
)
SELECT min(rule) AS rule, better_file, better_row, worse_file, worse_row FROM found
GROUP BY better_file, better_row, worse_file, worse_row
"""

_READ = """
SELECT p.rule, b.prompt_hash, b.sample_id AS better_id, b.revision AS better_revision, b.messages AS better, b.tools_json,
       w.sample_id AS worse_id, w.revision AS worse_revision, w.messages AS worse
FROM pair p
JOIN accepted b ON b.file = p.better_file AND b.row = p.better_row
JOIN (SELECT * FROM accepted UNION ALL SELECT * FROM rejected) w ON w.file = p.worse_file AND w.row = p.worse_row
ORDER BY b.prompt_hash, better_id, better_revision, worse_id, worse_revision, w.content_hash
"""
_RULES = (PairRule.REVISION, PairRule.REFINED, PairRule.CHECK_FAILED)


class Pairs:
    """The pairs of a version whose shards lie in a folder as `accepted-*.parquet` and `rejected-*.parquet`."""

    def __init__(self, accepted: Sequence[Path], rejected: Sequence[Path], work: Path) -> None:
        self._accepted = accepted
        self._rejected = rejected
        self._work = work

    def read(self) -> Iterator[tuple[str, Fields | Left, dict[str, Any]]]:
        """Prompt hash, the pair (or why it is left out), and whose answers they are, in an order that follows from the rows."""
        if not self._accepted:
            return
        with duckdb.connect(config=_SETTINGS | {"temp_directory": str(self._work)}) as connection:
            for name, files in (("accepted", self._accepted), ("rejected", self._rejected)):
                _view(connection, name, files or self._accepted, empty=not files)
            connection.execute(_FIND, {"check_failed": Reason.CHECK_FAILED.value, "not_of_answers": NOT_OF_ANSWERS})
            batches: pa.RecordBatchReader = connection.sql(_READ).to_arrow_reader(_BATCH_ROWS)
            for batch in batches:
                for row in batch.to_pylist():
                    yield _pair(row)


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], *, empty: bool) -> None:
    listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)  # a view takes no parameters
    connection.execute(_ANSWERS.format(name=name, files=listed) + (" WHERE false" if empty else ""))


def _pair(row: dict[str, Any]) -> tuple[str, Fields | Left, dict[str, Any]]:
    chosen = Answer(row["better_id"], row["better_revision"], row["better"])
    rejected = Answer(row["worse_id"], row["worse_revision"], row["worse"])
    told = {"chosen_id": chosen.sample_id, "chosen_revision": chosen.revision,
            "rejected_id": rejected.sample_id, "rejected_revision": rejected.revision}  # fmt: skip
    return row["prompt_hash"], to_preference(chosen, rejected, row["tools_json"], _RULES[row["rule"]]), told
