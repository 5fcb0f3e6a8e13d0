"""What a dataset's samples have cost, stage by stage. Pure.

Sums of whole numbers only: they are the same whatever batches the rows came in, so equal rows give equal manifests.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

US = 1_000_000
NANOS = 1_000_000_000

SECONDS_MAX = 10_000_000.0
"""Longest time that one stage is believed to have spent on one sample; beyond it the time counts as unknown."""

TOKENS_MAX = 10_000_000_000
"""Most tokens that one stage is believed to have read or written for one sample."""

MONEY_MAX = 1_000_000.0
"""Most money that one stage is believed to have spent on one sample."""


class StageCost(BaseModel):
    """What one stage spent on every decided sample since the dataset began.

    `entries` counts what was reported; of those the time is known `seconds_known` times, the tokens `tokens_known` times and
    the money `money_known` times. `seconds_us` is microseconds; `money_nanos` billionths of each currency.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    entries: int = 0
    seconds_known: int = 0
    seconds_us: int = 0
    tokens_known: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money_known: int = 0
    money_nanos: Mapping[str, int] = Field(default_factory=dict)

    def plus(self, other: "StageCost") -> "StageCost":
        """The sum of two."""
        money = {
            currency: self.money_nanos.get(currency, 0) + other.money_nanos.get(currency, 0)
            for currency in {*self.money_nanos, *other.money_nanos}
        }
        numbers = {name: getattr(self, name) + getattr(other, name) for name in StageCost.model_fields if name != "money_nanos"}
        return StageCost(**numbers, money_nanos=money)


def costs_added(*tallies: Mapping[str, StageCost]) -> dict[str, StageCost]:
    """The sum of tallies, stage by stage."""
    total: dict[str, StageCost] = {}
    for tally in tallies:
        for stage, cost in tally.items():
            total[stage] = total[stage].plus(cost) if stage in total else cost
    return total
