"""Colours and shapes, told apart by colour-blind eyes and on grey paper; words for what they stand for."""

from dataclasses import dataclass

from headrace.core.rounds.report.contents import Outcome
from headrace.core.rounds.rules import Axis

INK, FAINT, RULE, GREY = "#1b1f24", "#5c6670", "#d5dae0", "#98a1aa"
ACCEPTED, REJECTED = "#00795c", "#c35a00"


@dataclass(frozen=True, slots=True)
class Mark:
    """How a kind of point is drawn: `shape` is dot, triangle, diamond, square, ring, cross or plus."""

    colour: str
    shape: str
    words: str


OUTCOMES = {
    Outcome.UNTOUCHED: Mark(GREY, "dot", "untouched"),
    Outcome.LOW_QUALITY: Mark("#b5488f", "square", "selected as low quality"),
    Outcome.SPARSE: Mark("#0072b2", "diamond", "selected as sparse"),
    Outcome.HARD: Mark("#d55e00", "triangle", "selected as hard"),
    Outcome.REWRITTEN: Mark("#00795c", "ring", "accepted rewrite, in its parent's place"),
    Outcome.ADDED: Mark("#1b1f24", "plus", "accepted addition, beside a sparse row"),
}
VERDICTS = {
    True: Mark(ACCEPTED, "ring", "accepted"),
    False: Mark(REJECTED, "cross", "rejected"),
}
AXIS_COLOUR = {
    Axis.HARD: OUTCOMES[Outcome.HARD].colour,
    Axis.SPARSE: OUTCOMES[Outcome.SPARSE].colour,
    Axis.LOW_QUALITY: OUTCOMES[Outcome.LOW_QUALITY].colour,
}
AXIS_WORDS = {Axis.HARD: "hard", Axis.SPARSE: "sparse", Axis.LOW_QUALITY: "low quality"}
COLUMN_WORDS = {
    "loss_pre": "response loss under the base model, nats per token",
    "loss_post": "response loss under the current model, nats per token",
    "density": "density: mean cosine of the prompt to its nearest neighbours",
    "quality": "self-judged quality, 0 to 10",
}
NUMBER_WORDS = {
    Axis.HARD: "response loss, nats per token",
    Axis.SPARSE: "cosine to its sparse parent's prompt",
    Axis.LOW_QUALITY: "self-judged quality, 0 to 10",
}
GAIN_WORDS = {**NUMBER_WORDS, Axis.SPARSE: "the rewrite's cosine to its parent, less the parent's density"}
PARENT_WORDS = {**NUMBER_WORDS, Axis.SPARSE: "density, the mean cosine to its neighbours"}
