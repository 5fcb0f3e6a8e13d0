"""A policy's section on standing thresholds: what holds new samples to the model's own distribution, between rounds.

A calibration takes the first scored samples of one model version, a round its whole survey; either yields the bounds that a
new sample of that very version is held to: loss at most mean + m deviations, judged quality at least mean - m deviations, as on
the axes of rounds (`headrace.core.rounds.thresholds`) and with their coefficients. Samples measured by another version are not
held to them: a new version is calibrated before it gates, and so is a new ruler of the judge. The sparse axis has no such
bound: what lies sparse is no worse for it, and rounds add to it instead of replacing it; to reject it would be to reject what is
new. Data validation only; `calibrating` computes them.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

ROWS_MAX = 100_000
"""Most rows that one calibration takes: they are held in memory, about 100 bytes each."""

Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StandingThresholds(_Section):
    """Bounds of one model version, and the numbers that they came from; a bound is null where there is none to be had."""

    model: str = Field(min_length=1, max_length=200, description="The model whose numbers these are.")
    model_version: str = Field(min_length=1, max_length=200, description="Its version: of others nothing is said.")
    rows: int = Field(ge=1, strict=True, description="Rows that they were computed from.")
    source: str = Field(min_length=1, max_length=200, description='"calibration", or "round" and the round\'s id.')
    loss_max: Number | None = Field(None, description="Reject above this response loss (loss_too_high), nats per token.")
    loss_mean: Number | None = None
    loss_std: Number | None = None
    loss_m: Number | None = Field(None, description="Deviations between mean and bound, given or solved for a share.")
    quality_min: Number | None = Field(None, description="Reject below this judged quality (quality_too_low), 0 to 10.")
    quality_mean: Number | None = None
    quality_std: Number | None = None
    quality_m: Number | None = None
    ruler_hash: str | None = Field(None, max_length=200, description="The ruler that quality was judged by; null: not known.")

    @model_serializer(mode="wrap")
    def _as_named_before(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the ruler where it is not known: policies from before it was recorded keep their names."""
        content: dict[str, Any] = serialized(self)
        if self.ruler_hash is None:
            content.pop("ruler_hash", None)
        return content

    @property
    def bounds_anything(self) -> bool:
        return self.loss_max is not None or self.quality_min is not None


class StandingPolicy(_Section):
    """Which thresholds stand between rounds; those of a policy that names none are filled in by the controller."""

    rows: int = Field(
        0,
        ge=0,
        le=ROWS_MAX,
        strict=True,
        description="Scored samples of one model version that a calibration takes as soon as there are so many; 0: off.",
    )
    hard: Flag = Field(True, description="Reject what is harder for the model than rounds.hard allows.")
    low_quality: Flag = Field(False, description="Reject what the model judges below rounds.low_quality; submissions are judged.")
    thresholds: StandingThresholds | None = Field(
        None, description="Filled in by the system; a policy published without them has them computed anew."
    )

    @model_validator(mode="after")
    def _holds_something(self) -> "StandingPolicy":
        if self.rows and not (self.hard or self.low_quality):
            raise ValueError("standing.rows asks for a calibration, and both standing.hard and standing.low_quality are off")
        return self

    @property
    def judges(self) -> bool:
        """Whether submitted samples are judged by the model."""
        return self.rows > 0 and self.low_quality

    def loss_max_of(self, model: str, model_version: str) -> float | None:
        """The highest loss of a sample that this version measured; None where nothing stands."""
        standing = self._of(model, model_version)
        return standing.loss_max if standing is not None and self.hard else None

    def quality_min_of(self, model: str, model_version: str) -> float | None:
        """The lowest quality of a sample that this version judged; None where nothing stands."""
        standing = self._of(model, model_version)
        return standing.quality_min if standing is not None and self.low_quality else None

    def has_of(self, model: str, model_version: str) -> bool:
        """Whether the thresholds are this version's."""
        return self._of(model, model_version) is not None

    def is_calibrated(self, model: str, model_version: str, ruler_hash: str = "") -> bool:
        """Whether nothing is to be computed for what this version measured and, where quality counts, judged by this ruler."""
        return self.has_of(model, model_version) and self.is_by_ruler(ruler_hash)

    def is_by_ruler(self, ruler_hash: str) -> bool:
        """Whether a judgement by this ruler may be held to the thresholds: theirs, or one of the two is not known."""
        theirs = self.thresholds.ruler_hash if self.thresholds is not None else None
        return not theirs or not ruler_hash or ruler_hash == theirs

    def _of(self, model: str, model_version: str) -> StandingThresholds | None:
        found = self.thresholds if self.rows else None
        return found if found is not None and (found.model, found.model_version) == (model, model_version) else None
