"""A policy's section on rounds: what is selected, how it is mended, and when a round stops. Data validation only."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.core.budgets import Spend
from headrace.core.dossiers import Gate
from headrace.core.rounds.rules import M_MAX, Axis, AxisRule, Mode, SelectionRules

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Seconds = Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False, strict=True)]
Whole = Annotated[int, Field(ge=0, strict=True)]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AxisBounds(_Section):
    """How much of one axis is selected: beyond `m` deviations from the mean, or a share of the rows that `m` is solved for."""

    enabled: Flag = Field(True, description="False leaves the axis out.")
    m: float | None = Field(
        None,
        ge=-M_MAX,
        le=M_MAX,
        allow_inf_nan=False,
        strict=True,
        description="Deviations from the mean; 1 where neither is given.",
    )
    target_share: Share | None = Field(None, description="Share of the measured rows to select at most; m is solved for it.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "AxisBounds":
        if self.m is not None and self.target_share is not None:
            raise ValueError("an axis takes m or target_share, not both")
        return self

    def rule(self) -> AxisRule | None:
        """The rule for the selection, None where the axis is off."""
        if not self.enabled:
            return None
        if self.target_share is not None:
            return AxisRule(target_share=self.target_share)
        return AxisRule(m=1.0 if self.m is None else self.m)


class RoleBudget(_Section):
    """What the model calls in one role may spend of a round's budget. Null: no limit but the round's."""

    tokens: Whole | None = Field(None, description="Prompt and completion tokens of the calls in this role.")
    money: Money | None = Field(None, description="In the currency of the prices of the role's endpoint.")


class RoleBudgets(_Section):
    """Budgets of single roles: each maps to an endpoint with prices of its own."""

    refiner: RoleBudget = Field(RoleBudget(), description="Calls that write new prompts.")
    answerer: RoleBudget = Field(RoleBudget(), description="Calls that answer them.")
    judge: RoleBudget = Field(RoleBudget(), description="Calls that judge rewrites, where there are any.")


class Budget(_Section):
    """What one round may spend on its rewrites; tokens and money are checked before each call. Null: no limit."""

    tokens: Whole | None = Field(None, description="Prompt and completion tokens of all model calls together.")
    money: Money | None = Field(None, description="In the currency of the endpoints' prices.")
    seconds: Seconds | None = Field(None, description="Time by the clock for refining; no rewrite is begun after it.")
    roles: RoleBudgets = Field(RoleBudgets(), description="Beside these limits those of single roles.")

    def limits(self) -> tuple[Spend, ...]:
        """The limits of all calls together, and of each role that has a limit of its own, by name."""
        roles = sorted((name, getattr(self.roles, name)) for name in RoleBudgets.model_fields)
        own = [Spend(each.tokens, each.money, role) for role, each in roles if each != RoleBudget()]
        return (Spend(self.tokens, self.money), *own)


class Deadlines(_Section):
    """Longest time of each phase; what is not done by then is left behind, or stops the round."""

    surveying_s: Seconds = Field(3_600.0, description="Survey and densities; then the round stops.")
    refining_s: Seconds = Field(3_600.0, description="Rewrites and their admission; then those still under way are left out.")
    committing_s: Seconds = Field(600.0, description="The new version; then the round stops.")
    training_s: Seconds = Field(86_400.0, description="A checkpoint trained on it, rolled out; then the round stops.")
    evaluating_s: Seconds = Field(3_600.0, description="The held-out loss under the new checkpoint; then the round stops.")
    reverting_s: Seconds = Field(3_600.0, description="Undoing what a round changed; then the round freezes.")


class Guards(_Section):
    """Bounds against collapse; one that does not hold freezes the round with its reason, until a person resumes it."""

    model_written_share_max: Share = Field(0.5, description="Share of the new version's rows that a model wrote.")
    human_rows_min: Whole = Field(0, description="Rows that nobody but people wrote, at least so many.")
    near_duplicate_share_max: Share = Field(0.5, description="Share of the rewrites that were near-duplicates.")
    held_out_loss_max: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        strict=True,
        description="Mean held-out loss under the new model, nats per token: what each round tolerates adds up. None: any.",
    )
    lost_rows_max: int = Field(
        100, ge=0, le=5_000, strict=True, description="Rows that ended among the dead letters; more of them freeze the round."
    )


_PAPER: Mapping[str, Any] = MappingProxyType({"judge": "generated", "attempts_max": 1, "scale": "paper"})
"""What mode middo_compat sets where the policy does not: the model writes its scores, one rewrite, and the dataset grows.

Everything else that the authors' code does follows from the mode itself or is the default anyhow (k = 2, m = 1, the old row stays
where nothing replaced it). Held-out loss, guards, budgets and deadlines, which the authors do not have, stay as they are.
"""


class RoundPolicy(_Section):
    """How a dataset's rounds select, mend, and end. In mode middo_compat some defaults are the paper's."""

    mode: Mode = Field(Mode.HEADRACE, description="headrace, or middo_compat: what the authors' code does, odd choices included.")
    start: Literal["manual", "checkpoint"] = Field(
        "manual", description="manual: `headrace round start`; checkpoint: whenever one trained on the latest version measures."
    )
    hard: AxisBounds = Field(AxisBounds(), description="Response loss above the bound, under the base and the current model.")
    sparse: AxisBounds = Field(AxisBounds(), description="Neighbourhood density below the bound.")
    low_quality: AxisBounds = Field(AxisBounds(), description="Self-judged quality below the bound.")
    base: Literal["first", "none"] = Field(
        "first",
        description="The second model of `hard` where signals.base_model names none: the first version of the model that "
        "measures (as long as the model server has it loaded), or none.",
    )
    judge: Literal["logits", "generated"] = Field(
        "logits", description="How the model judges itself; generated is the paper's, and the default of middo_compat."
    )
    neighbours: int = Field(2, ge=1, le=64, strict=True, description="k of the density: the mean of the top-k prompt cosines.")
    attempts_max: int = Field(
        2,
        ge=1,
        le=15,
        strict=True,
        description="Rewrites tried for one parent before it is given up; 1 is the default of middo_compat.",
    )
    meaning_cosine_min: float = Field(
        0.8, ge=-1, le=1, allow_inf_nan=False, strict=True, description="Least cosine of a rewritten prompt to its parent's."
    )
    judge_rewrites: Literal["none", "endpoint"] = Field(
        "none",
        description="endpoint: the chat endpoint in the role `judge` scores each rewrite and its parent, and a rewrite that it "
        "finds worse is turned away. Nothing follows from it in mode middo_compat.",
    )
    unmended: Literal["keep", "drop"] = Field("keep", description="What becomes of a parent that no rewrite could beat.")
    scale: Literal["held", "paper"] = Field(
        "held", description="held: additions are paid for by evictions; paper, and always in mode middo_compat: it grows."
    )
    train: Flag = Field(True, description="Wait for a checkpoint trained on the new version, and evaluate it.")
    held_out_rise_max: float = Field(
        0.0, ge=0, allow_inf_nan=False, strict=True, description="Rise of the held-out loss that is tolerated, nats per token."
    )
    on_worse: Literal["revert", "keep_data"] = Field(
        "revert", description="Where the held-out loss rose, the model goes back; revert: what the round changed is undone, too."
    )
    selected_share_min: Share = Field(0.0, description="A smaller selected share ends the round: nothing much is left to mend.")
    budget: Budget = Field(Budget(), description="What one round may spend.")
    deadlines: Deadlines = Field(Deadlines(), description="Longest time of each phase.")
    guards: Guards = Field(Guards(), description="Bounds against collapse.")

    @model_validator(mode="before")
    @classmethod
    def _as_the_paper(cls, given: Any) -> Any:
        """What is given stands, in either mode; a stored policy gives everything."""
        if not isinstance(given, dict) or given.get("mode") != Mode.MIDDO_COMPAT:
            return given
        return {**_PAPER, **given}

    def canonical_json(self) -> str:
        """The section as canonical JSON: equal sections have equal texts."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def gate(self) -> Gate:
        """What is asked of rewrites under these rules."""
        judge = self.judge if self.low_quality.enabled else ""
        judge_rewrites = self.judge_rewrites == "endpoint"
        return Gate(self.mode.value, judge, self.meaning_cosine_min, self.unmended, judge_rewrites)

    def selection(self, *, has_base: bool) -> SelectionRules:
        """What the selection is told.

        Raises:
            ValueError: mode middo_compat selects on the hard axis and no base model is measured.
        """
        rules = {axis.value: getattr(self, axis.value).rule() for axis in Axis}
        return SelectionRules(mode=self.mode, k=self.neighbours, has_base=has_base, **rules)
