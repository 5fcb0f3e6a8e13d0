"""Summing what rows cost, column by column."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.dossiers import Cost
from headrace.core.version_costs import MONEY_MAX, NANOS, SECONDS_MAX, TOKENS_MAX, US, StageCost, costs_added

COST = pa.struct(
    [
        pa.field("stage", pa.string()),
        pa.field("seconds", pa.float64()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("money", pa.float64()),
        pa.field("currency", pa.string()),
    ]
)
"""One stage's cost of one sample; what is unknown, or too much to be true, is null."""

_SUM = pa.decimal128(38, 0)
"""Sums cannot overflow."""


def cost_records(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """A dossier's costs as they lie in a row."""
    return [
        {
            "stage": cost.stage,
            "seconds": _believable(cost.seconds, SECONDS_MAX),
            "prompt_tokens": _believable(cost.prompt_tokens, TOKENS_MAX),
            "completion_tokens": _believable(cost.completion_tokens, TOKENS_MAX),
            "money": _believable(cost.money, MONEY_MAX),
            "currency": cost.currency or None,
        }
        for cost in costs
    ]


def cost_tally(table: pa.Table) -> dict[str, StageCost]:
    """What a table's rows cost, by stage."""
    costs = pc.list_flatten(table["costs"].combine_chunks())
    if not len(costs):
        return {}
    seconds, prompt, completion, money = (
        pc.struct_field(costs, name) for name in ("seconds", "prompt_tokens", "completion_tokens", "money")
    )
    columns = {
        "stage": pc.struct_field(costs, "stage"),
        "currency": pc.fill_null(pc.struct_field(costs, "currency"), ""),
        "seconds_us": _whole(seconds, US),
        "prompt_tokens": pc.cast(prompt, _SUM),
        "completion_tokens": pc.cast(completion, _SUM),
        "tokens_known": pc.or_(pc.is_valid(prompt), pc.is_valid(completion)),
        "money_nanos": _whole(money, NANOS),
    }
    sums = [(name, "sum") for name in ("seconds_us", "prompt_tokens", "completion_tokens", "tokens_known", "money_nanos")]
    counts = [(name, "count") for name in ("stage", "seconds_us", "money_nanos")]
    grouped = pa.table(columns).group_by(["stage", "currency"]).aggregate(sums + counts)
    return costs_added(*({row["stage"]: _cost(row)} for row in grouped.to_pylist()))


def _cost(row: dict[str, Any]) -> StageCost:
    money = {row["currency"]: int(row["money_nanos_sum"])} if row["money_nanos_count"] else {}
    return StageCost(
        entries=row["stage_count"],
        seconds_known=row["seconds_us_count"],
        seconds_us=int(row["seconds_us_sum"] or 0),
        tokens_known=row["tokens_known_sum"] or 0,
        prompt_tokens=int(row["prompt_tokens_sum"] or 0),
        completion_tokens=int(row["completion_tokens_sum"] or 0),
        money_known=row["money_nanos_count"],
        money_nanos=money,
    )


def _whole(column: pa.Array, scale: int) -> pa.Array:
    return pc.cast(pc.cast(pc.round(pc.multiply(column, float(scale))), pa.int64()), _SUM)


def _believable(value: float | None, most: float) -> float | None:
    return value if value is not None and math.isfinite(value) and 0 <= value <= most else None
