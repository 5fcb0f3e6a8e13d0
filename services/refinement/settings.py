"""Settings of refinement, from HEADRACE_REFINEMENT_* environment variables."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.core.chat import Sampling
from headrace.core.rounds.rewriting import RewritingLimits, Style

_LIMITS = RewritingLimits()


class RefinementSettings(BaseSettings):
    """How rewrites are written, and how many at a time. Which endpoint writes them: HEADRACE_CHAT_*.

    A batch that takes longer than HEADRACE_DELIVERY_HANDLER_S_MAX is handed to another replica, which finds the replies that were
    paid for; at a slow endpoint smaller batches spare it that.
    """

    model_config = SettingsConfigDict(env_prefix="HEADRACE_REFINEMENT_", frozen=True, extra="ignore")

    batch_records_max: int = Field(64, ge=1, le=1024, description="Rewrites in hand at a time; the endpoints limit their calls.")
    style: Style = Field(
        Style.MARKED, description="How a refiner is asked: marked, or plain for models too small to keep to a form."
    )
    prompt_temperature: float = Field(1.0, ge=0, le=2, description="Temperature at which a new prompt is drawn.")
    prompt_top_p: float = Field(1.0, gt=0, le=1, description="Nucleus from which it is drawn.")
    prompt_tokens_max: int = Field(1_024, ge=16, description="Tokens for a new prompt and the thoughts before it.")
    answer_temperature: float = Field(1.0, ge=0, le=2, description="Temperature at which an answer is drawn.")
    answer_top_p: float = Field(1.0, gt=0, le=1, description="Nucleus from which it is drawn.")
    answer_tokens_max: int = Field(1_024, ge=16, description="Tokens for an answer.")
    judgement_tokens_max: int = Field(
        256, ge=16, description="Tokens for a judgement of a rewrite: six numbers, and the thoughts before them."
    )
    material_chars_max: int = Field(
        _LIMITS.material_chars_max, ge=1, description="A prompt longer than this, with the turns before it, is not rewritten."
    )
    beside_chars_max: int = Field(
        _LIMITS.beside_chars_max, ge=1, description="Characters shown of each text beside it: its answer, a neighbour."
    )
    prompt_chars_max: int = Field(_LIMITS.prompt_chars_max, ge=1, description="Longest prompt taken.")
    answer_chars_max: int = Field(_LIMITS.answer_chars_max, ge=1, description="Longest answer taken.")

    loop_ratio_max: float = Field(
        _LIMITS.loop_ratio_max,
        gt=1,
        description="What shrinks more than so many times when it is compressed goes round in a loop.",
    )

    def limits(self) -> RewritingLimits:
        """The part that rewriting itself is told."""
        return RewritingLimits(
            self.material_chars_max, self.beside_chars_max, self.prompt_chars_max, self.answer_chars_max, self.loop_ratio_max
        )

    def refining(self) -> Sampling:
        """How a prompt is drawn."""
        return Sampling(self.prompt_temperature, self.prompt_top_p, self.prompt_tokens_max)

    def answering(self) -> Sampling:
        """How an answer is drawn."""
        return Sampling(self.answer_temperature, self.answer_top_p, self.answer_tokens_max)

    def judging(self) -> Sampling:
        """How a judgement is given: nothing is drawn."""
        return Sampling(0.0, max_tokens=self.judgement_tokens_max)
