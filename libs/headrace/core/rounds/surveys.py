"""Surveys: every row of a version measured anew, and what follows from the table of their signals."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.core.budgets import Spend
from headrace.core.dossiers import Cost, Embeddings, Gate, Rewrite, Signals
from headrace.core.fine_tuning import is_held_out
from headrace.core.samples import Sample


class Purpose(StrEnum):
    """ROUND surveys every accepted row; EVALUATION those whose prompts are held out of training."""

    ROUND = "round"
    EVALUATION = "evaluation"


class Judge(StrEnum):
    """How the model judges itself: not at all, by the expectation over score tokens, or by generated text."""

    NONE = ""
    LOGITS = "logits"
    GENERATED = "generated"


@dataclass(frozen=True, slots=True)
class Survey:
    """What is measured, and with which models. `base_model` is empty where no second loss is wanted.

    `base_from` is an earlier round that was surveyed with the same base, empty for none: its table has the base's losses of rows
    that stayed as they were.

    With `plain_prompts` densities are those of the prompts as plain text, without the chat template, as Middo's authors make
    them in their code; they are embedded in a pass of their own.
    """

    dataset_id: str
    round_id: str
    purpose: Purpose
    version: str
    model: str
    model_version: str
    base_model: str = ""
    base_model_version: str = ""
    judge: Judge = Judge.NONE
    held_out_share: float = 0.0
    held_out_seed: str = ""
    base_from: str = ""
    plain_prompts: bool = False

    def holds_out(self, prompt_hash: str) -> bool:
        """Whether rows with this prompt are held out of training."""
        return is_held_out(prompt_hash, self.held_out_share, self.held_out_seed)


@dataclass(frozen=True, slots=True)
class SurveyRequested:
    """Ask for the page of a survey that begins behind this sample of this shard of the version's accepted rows.

    `shard` counts the shards that the version was cut with. Rows are in order of their ids and keep it when others are forgotten;
    their numbers do not: `row` is what an earlier release names, and counts only where `after` is empty.
    """

    survey: Survey
    shard: int = 0
    row: int = 0
    after: str = ""


@dataclass(frozen=True, slots=True)
class SurveyedSample:
    """One row of the version on its way to be measured; `known` are signals of the same content that still hold.

    Of those that an earlier round's table kept nothing but the loss is known: their token counts are 0.
    """

    survey: Survey
    sample: Sample
    known: tuple[Signals, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredSample:
    """One row's signals for the survey's table; `embeddings` is None where they were not made, `plain_prompt` empty.

    `merge_key` is what the authors' code tells rows apart by: SHA-256 of prompt and response, without what surrounds them.
    `sent_back` rows were among the dead letters before: a round may have counted them as lost.
    """

    survey: Survey
    sample_id: str
    revision: int
    content_hash: str
    prompt_hash: str
    origin_kind: str
    merge_key: str
    signals: tuple[Signals, ...]
    embeddings: Embeddings | None
    cost: Cost | None = None
    sent_back: bool = False
    plain_prompt: bytes = b""

    @property
    def dataset_id(self) -> str:
        return self.survey.dataset_id

    def signals_of(self, role: str) -> Signals | None:
        """The signals under the model in that role, or None."""
        return next((signals for signals in self.signals if signals.role == role), None)


@dataclass(frozen=True, slots=True)
class DensityRequested:
    """Ask for the densities of the next rows of a survey's table, which is to have `rows` of them."""

    survey: Survey
    first_row: int
    rows: int
    neighbours: int


@dataclass(frozen=True, slots=True)
class SelectionRequested:
    """Ask for thresholds and selection over a survey's table; with purpose EVALUATION for the held-out loss alone."""

    survey: Survey
    rows: int
    rules_json: str


@dataclass(frozen=True, slots=True)
class RefiningRequested:
    """Ask for the next `rows` of a round's selection to be sent to refinement, each with its allowances and the round's gate.

    Where `only_rows` names some, in their order, the others among them were asked for before.
    """

    survey: Survey
    first_row: int
    rows: int
    attempts_max: int
    round_ordinal: int
    tokens_allowed_each: int | None = None
    money_allowed_each: float | None = None
    only_rows: tuple[int, ...] = ()
    gate: Gate | None = None
    roles_allowed_each: tuple[Spend, ...] = ()


@dataclass(frozen=True, slots=True)
class EvictionRequested:
    """Ask for so many of the most redundant rows of a survey's table to leave the dataset."""

    survey: Survey
    rows: int


@dataclass(frozen=True, slots=True)
class RevertRequested:
    """Ask for what a round changed to be undone, by the rows with ids above `after`.

    `standing` is the version that tells what stands, compared with the one that was surveyed.
    """

    survey: Survey
    standing: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class RoundStepRequested:
    """Ask for one step of a round. Steps of many rows are done page by page: each page asks for the one after it."""

    step: SurveyRequested | DensityRequested | SelectionRequested | RefiningRequested | EvictionRequested | RevertRequested

    @property
    def dataset_id(self) -> str:
        return self.step.survey.dataset_id


@dataclass(frozen=True, slots=True)
class RefinementRequested:
    """Ask for one rewrite."""

    rewrite: Rewrite
