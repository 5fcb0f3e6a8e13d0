"""The second opinion on a rewrite: an endpoint scores it and its parent, each in a call of its own and in the very same words.

Six scores from 0 to 10, those of the model's own judgement; a quality is their mean. The sample stands between marks, so what it
asks of its judge is material, and what comes back is six numbers or nothing. Nothing is drawn (temperature 0), and the same text
is the same call whichever attempt, axis or round asks for it: its kept reply is used. Of a parent that was judged later attempts
do not even ask, since a kept reply's cost would be booked once more.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.chat import JUDGE, Call, Sampling
from headrace.core.chat_answers import Unreadable
from headrace.core.dossiers import JUDGED, EndpointJudgement, Rewrite
from headrace.core.intake_json import parse_text
from headrace.core.refusals import Refused
from headrace.core.rounds.material import marked
from headrace.core.rounds.rewriting import Recipe
from headrace.core.rounds.rewritten_text import thought_through
from headrace.core.samples import Message, Sample

SCORE_MAX = 10
_FENCE = "```"
_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "number"} for name in JUDGED},
    "required": list(JUDGED),
    "additionalProperties": False,
}
_SCHEMA_JSON = json.dumps(_SCHEMA, separators=(",", ":"))
"""A wish: what some endpoints accept of a schema ends here, so the range of the scores is left to the reader."""


@dataclass(frozen=True, slots=True)
class RewriteJudging:
    """Who judges and in which words: `recipe` is the instruction, `model` the endpoint's name for the judge, as settings tell."""

    recipe: Recipe
    sampling: Sampling
    model: str

    def call_for(self, sample: Sample) -> tuple[Call, Callable[[str], float]]:
        """The call for a sample's quality, and how its reply is read. The sample ends with a user turn and its answer."""
        *before, question, response = sample.messages
        shown = [(f"Before it, {turn.role}", turn.content) for turn in before]
        shown += [("The prompt", question.content), ("The response", response.content)]
        _, blocks = marked(shown)
        messages = (*self.recipe.turns(), Message("user", "\n\n".join(blocks)))
        return Call(JUDGE, messages, self.sampling, _SCHEMA_JSON), quality_in

    def to_judge(self, rewrite: Rewrite, sample: Sample) -> tuple[Sample, ...]:
        """What is to be judged of an attempt that came to this sample: it, and before it the parent where that was not yet."""
        return (rewrite.parent, sample) if self._parent_quality(rewrite) is None else (sample,)

    def judged(self, rewrite: Rewrite, qualities: Sequence[float]) -> EndpointJudgement:
        """The page that admission weighs, from the qualities of what was `to_judge`."""
        known = self._parent_quality(rewrite)
        return EndpointJudgement(qualities[0] if known is None else known, qualities[-1], self.model, self.recipe.name)

    def _parent_quality(self, rewrite: Rewrite) -> float | None:
        """What an attempt before found; None where none asked this judge in these words."""
        told = rewrite.judged
        return told.parent_quality if told is not None and (told.model, told.recipe) == (self.model, self.recipe.name) else None


def quality_in(text: str) -> float:
    """The mean of the six scores in a reply, 0 to 10; a fence of backticks around it is passed over.

    Raises:
        Unreadable: the reply is not one JSON object with six numbers from 0 to 10 and nothing else.
    """
    try:
        scores = parse_text(_unfenced(thought_through(text)), depth_max=1)
    except Refused as refused:
        raise Unreadable(f"it is no JSON object with six numbers ({refused.code}).") from None
    if not isinstance(scores, dict) or set(scores) != set(JUDGED):
        raise Unreadable(f"it must be one JSON object with these keys and no others: {', '.join(JUDGED)}.")
    for name in JUDGED:
        if not _is_score(scores[name]):
            raise Unreadable(f"{name} must be a number from 0 to {SCORE_MAX}.")
    return float(sum(scores[name] for name in JUDGED)) / len(JUDGED)


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= SCORE_MAX


def _unfenced(text: str) -> str:
    text = text.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        return text.removeprefix(_FENCE).removesuffix(_FENCE).removeprefix("json").strip()
    return text
