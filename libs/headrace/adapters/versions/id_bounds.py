"""Which sample ids a condition in SQL can be true for, as far as it says so plainly: shards without such ids are not fetched."""

import json
from collections.abc import Callable
from typing import Any

import duckdb

MayHold = Callable[[str, str], bool]
"""Whether rows with ids from the first to the second may fulfil the condition."""

_MIRRORED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}


def may_hold(connection: duckdb.DuckDBPyConnection, sql: str) -> MayHold:
    """What the condition of a plain SELECT says of `sample_id`; anything else may be true for every row.

    A query with another one in it reads rows that its own condition leaves out, so nothing is concluded from that.
    """
    [told] = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone() or ("{}",)
    statements = json.loads(told).get("statements") or [{}]
    node = statements[0].get("node") or {}
    condition = node.get("where_clause")
    if len(statements) != 1 or node.get("type") != "SELECT_NODE" or condition is None or _has_subquery(node):
        return lambda _low, _high: True
    return lambda low, high: _may_hold(condition, low, high)


def _may_hold(node: dict[str, Any], low: str, high: str) -> bool:
    if node["class"] == "CONJUNCTION":
        parts = (_may_hold(child, low, high) for child in node["children"])
        return any(parts) if node["type"] == "CONJUNCTION_OR" else all(parts)
    if node["type"] == "COMPARE_BETWEEN" and _is_id(node["input"]):
        lower, upper = _text(node["lower"]), _text(node["upper"])
        return (lower is None or lower <= high) and (upper is None or low <= upper)
    if node["type"] == "COMPARE_IN" and _is_id(node["children"][0]):
        texts = [_text(child) for child in node["children"][1:]]
        return any(text is None or low <= text <= high for text in texts)
    if node["type"] in _MIRRORED:
        if _is_id(node["left"]):
            return _compares(node["type"], _text(node["right"]), low, high)
        if _is_id(node["right"]):
            return _compares(_MIRRORED[node["type"]], _text(node["left"]), low, high)
    return True


def _compares(kind: str, text: str | None, low: str, high: str) -> bool:
    """Whether an id from `low` to `high` may stand in this relation to the text."""
    if text is None:
        return True
    return {
        "COMPARE_EQUAL": low <= text <= high,
        "COMPARE_LESSTHAN": low < text,
        "COMPARE_LESSTHANOREQUALTO": low <= text,
        "COMPARE_GREATERTHAN": high > text,
        "COMPARE_GREATERTHANOREQUALTO": high >= text,
    }[kind]


def _is_id(node: dict[str, Any]) -> bool:
    return node["class"] == "COLUMN_REF" and [name.lower() for name in node["column_names"]] in (
        ["sample_id"],
        ["rows", "sample_id"],
    )


def _text(node: dict[str, Any]) -> str | None:
    """A text that is written out; None for anything else."""
    literal = node.get("literal") or {}
    return literal["text"] if node["class"] == "CONSTANT" and literal.get("kind") == "STRING" else None


def _has_subquery(node: Any) -> bool:
    if isinstance(node, dict):
        return node.get("class") == "SUBQUERY" or any(_has_subquery(each) for each in node.values())
    return isinstance(node, list) and any(_has_subquery(each) for each in node)
