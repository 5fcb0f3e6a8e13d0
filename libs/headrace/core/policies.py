"""A dataset's policy: what admission compares, and with which bounds. Data validation only; no files are read here."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.core.rounds.policy import RoundPolicy
from headrace.core.rounds.standing import StandingPolicy, StandingThresholds

# Strict: in YAML `true` would pass for 1.0 and "3.5" for a number, and a bound must be what its author meant.
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False, strict=True)]
NearCosine = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignalBounds(_Section):
    """Bounds on what the current model says, in nats per response token."""

    loss_max: NonNegative | None = Field(None, description="Reject above this response loss (loss_too_high).")
    loss_min: NonNegative | None = Field(None, description="Reject below this response loss: mastered (loss_too_low).")
    truncated: Flag = Field(False, description="Admit conversations longer than the model can read.")
    base_model: str | None = Field(
        None, min_length=1, max_length=200, description="A second model whose loss is recorded beside the current one's."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "SignalBounds":
        if self.loss_max is not None and self.loss_min is not None and self.loss_min > self.loss_max:
            raise ValueError("signals.loss_min is above signals.loss_max: nothing could be admitted")
        return self


class DiversityBounds(_Section):
    """What counts as a duplicate and how dense a neighbourhood may be."""

    near_duplicate_cosine: NearCosine | None = Field(
        0.999, description="Conversations at or above this cosine are near-duplicates; null switches the test off."
    )
    neighbours: int = Field(2, ge=1, le=64, strict=True, description="k of the density: the mean of the top-k prompt cosines.")
    density_max: Cosine | None = Field(None, description="Reject above this density (too_dense).")
    density_min: Cosine | None = Field(None, description="Reject below this density (too_sparse).")
    hold_s_max: float = Field(
        120, gt=0, le=86_400, strict=True, description="Longest wait for the decision on an earlier, similar sample; then parked."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "DiversityBounds":
        if self.density_max is not None and self.density_min is not None and self.density_min > self.density_max:
            raise ValueError("diversity.density_min is above diversity.density_max: nothing could be admitted")
        return self


class CheckRequest(BaseModel):
    """One check to run; further keys are the check's own settings, validated by the check itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    check: str = Field(min_length=1, max_length=64, description="The check's name, as `headrace policy checks` lists them.")
    required: Flag = Field(True, description="False records the outcome without letting it decide.")

    @model_validator(mode="after")
    def _is_json(self) -> "CheckRequest":
        """Else what is published would not be what its author wrote: an infinite number would be null."""
        for name, value in self.settings.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} holds what JSON has not: {error}") from error
        return self

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class VersionRules(_Section):
    """When a dataset version is cut without being asked."""

    every_rows: int | None = Field(
        None, ge=1, strict=True, description="Cut once this many samples were decided since the last version."
    )
    every_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, strict=True, description="Cut once the oldest undelivered decision is this old."
    )


class TrainingRules(_Section):
    """What a trainer keeps back to measure with."""

    held_out_share: float = Field(
        0.1, ge=0, le=0.9, allow_inf_nan=False, strict=True, description="Share of the prompts that are never trained on."
    )
    held_out_seed: str = Field(
        "", max_length=64, description="Another seed holds out other prompts; which ones follows from their hashes alone."
    )


class Policy(_Section):
    """The bounds under which one dataset's samples are admitted."""

    description: str = Field("", max_length=2_000, description="What the dataset is for, in your own words.")
    signals: SignalBounds = Field(SignalBounds(), description="Bounds on what the model being trained says of a sample.")
    diversity: DiversityBounds = Field(DiversityBounds(), description="Duplicates and density among the accepted samples.")
    checks: tuple[CheckRequest, ...] = Field((), max_length=32, description="Checks to run before a sample is admitted.")
    versions: VersionRules = Field(VersionRules(), description="When a dataset version is cut without being asked.")
    training: TrainingRules = Field(TrainingRules(), description="What trainers keep back to measure with.")
    rounds: RoundPolicy = Field(RoundPolicy(), description="How the dataset is surveyed and mended, round by round.")
    standing: StandingPolicy = Field(StandingPolicy(), description="Thresholds from the model's own numbers, between rounds.")

    @model_validator(mode="after")
    def _distinct_checks(self) -> "Policy":
        names = [request.check for request in self.checks]
        if len(set(names)) != len(names):
            raise ValueError("checks: each check may be asked for once")
        return self

    def canonical_json(self) -> str:
        """The policy as canonical JSON: equal policies have equal texts.

        `rounds` and `standing` are left out at their defaults: policies from before they were there keep their names.
        """
        defaults: dict[str, BaseModel] = {"rounds": RoundPolicy(), "standing": StandingPolicy()}
        content = self.model_dump(mode="json", exclude={name for name, value in defaults.items() if getattr(self, name) == value})
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @cached_property
    def version(self) -> str:
        """The name that decisions quote: the first 12 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:12]

    def with_thresholds(self, thresholds: StandingThresholds) -> "Policy":
        """The same policy with these standing thresholds."""
        changed = self.model_copy(update={"standing": self.standing.model_copy(update={"thresholds": thresholds})})
        vars(changed).pop("version", None)  # a copy takes over what was worked out, too
        return changed

    def prompt_copies_max(self) -> int | None:
        """The bound of the `duplicate_prompt` check where the policy asks for it, else None."""
        for request in self.checks:
            if request.check == "duplicate_prompt" and request.required:
                copies_max = request.settings.get("copies_max", 1)
                return copies_max if isinstance(copies_max, int) else None
        return None
