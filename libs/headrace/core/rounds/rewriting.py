"""How a selected sample is rewritten: the calls that are made, and the sample that their answers become.

Two calls: a refiner writes a new prompt, then an answerer, who sees that prompt alone, writes its answer. What a refiner is told,
by axis:

    hard          the prompt, and the answer that the new one must still have: make it one that a weaker model can learn from
    low_quality   the prompt, its answer, and the judge's mean score beside the bound: mend what is poor
    sparse        the prompt and its nearest neighbours: write a wholly new one in that neighbourhood

A refiner that is asked in the style PLAIN is shown prompts alone and some examples, and writes a prompt and nothing else: that is
what a very small model can do. There the sample's text is the turn itself; in the style MARKED it stands between marks.

With `prompt_alone` (mode middo_compat) it is shown prompts and nothing else, as the authors' rewriter is: no answer, no numbers,
no reason why the attempt before was turned away. There and here the old response never reaches the answerer.

Only the last user turn and the last assistant turn are written anew; what comes before them is kept. A reference stays where
the new prompt is to have the same answer, and goes where it is a wholly new one. The caller's metadata go with what is replaced.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain

from headrace.core.chat import ANSWERER, REFINER, Call, Sampling
from headrace.core.dossiers import Rewrite
from headrace.core.rounds.material import marked
from headrace.core.rounds.objections import LOOP_RATIO_MAX, Objections
from headrace.core.rounds.revisions import identity_of_rewrite, stands_beside
from headrace.core.rounds.rewritten_text import AnswerReader, PromptReader, scripts_of
from headrace.core.rounds.rules import Axis
from headrace.core.samples import Message, Origin, OriginKind, Sample, content_hash_of, response_text

_VERSION_DIGITS = 12
_SYSTEM = frozenset({"system", "developer"})


class Obstacle(StrEnum):
    """Why a sample is not rewritten at all, as a stable code."""

    TOOLS = "tool_conversation"
    """It has tools, or turns of them: what they would answer to another question is not known."""
    NO_QUESTION = "no_question"
    """It does not end with a user turn and its answer."""
    TOO_LONG = "too_long"
    """What would have to be shown is above the limit."""
    NO_REVISION = "no_revision"
    """No revision is left for it."""


class NotRewritable(ValueError):
    """No call is worth making; `obstacle` is the code, the message for people."""

    def __init__(self, obstacle: Obstacle, message: str) -> None:
        super().__init__(message)
        self.obstacle = obstacle


class Style(StrEnum):
    """How refiners are asked and answer: MARKED with material and reply between marks, PLAIN for very small models."""

    MARKED = "marked"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model is told of its task: the name of a versioned file, its text, and examples of what is asked and written."""

    name: str
    text: str
    examples: tuple[tuple[str, str], ...] = ()

    def turns(self) -> tuple[Message, ...]:
        """The turns before the sample's own."""
        shown = [(Message("user", asked), Message("assistant", written)) for asked, written in self.examples]
        return (Message("system", self.text), *chain.from_iterable(shown))


@dataclass(frozen=True, slots=True)
class Recipes:
    """What refiners are told, by axis, and what the answerer is told."""

    refining: Mapping[Axis, Recipe]
    answering: Recipe
    style: Style = Style.MARKED

    def version_for(self, axis: Axis) -> str:
        """The first 12 hex digits of the SHA-256 of all texts that a rewrite on this axis goes by."""
        turns = (*self.refining[axis].turns(), *self.answering.turns())
        text = "\0".join(turn.content for turn in turns)
        return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_DIGITS]


@dataclass(frozen=True, slots=True)
class RewritingLimits:
    """Most characters of a prompt and the turns before it to be rewritten, of each text shown beside it, and of what is written.

    Neighbours are shown, nearest first, until they make up as much as a prompt may. `loop_ratio_max`: see `objections`.
    """

    material_chars_max: int = 24_000
    beside_chars_max: int = 4_000
    prompt_chars_max: int = 16_000
    answer_chars_max: int = 64_000
    loop_ratio_max: float = LOOP_RATIO_MAX


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at one rewrite, found possible: whose id and revision it gets, and who is asked in which words."""

    rewrite: Rewrite
    recipes: Recipes
    limits: RewritingLimits
    sample_id: str
    revision: int
    prompt_alone: bool

    @property
    def axis(self) -> Axis:
        return Axis(self.rewrite.axis)

    def refining_call(self, sampling: Sampling) -> tuple[Call, PromptReader]:
        """The call for a new prompt, and how its reply is read."""
        fence, turn = ("", self._plain_turn()) if self.recipes.style is Style.PLAIN else self._marked_turn()
        messages = (*self.recipes.refining[self.axis].turns(), Message("user", turn))
        reader = PromptReader(
            fence,
            self._scripts(),
            self.limits.prompt_chars_max,
            known=(self._question, *self.rewrite.hints, *chain.from_iterable(self.recipes.refining[self.axis].examples)),
            answers=self._answers(),
            before=self._question,
            objections=self._objections(),
        )
        return Call(REFINER, messages, sampling), reader

    def answering_call(self, prompt: str, sampling: Sampling) -> tuple[Call, AnswerReader]:
        """The call for its answer, from what comes before it and the new prompt alone."""
        turns = [Message(turn.role, turn.content) for turn in (*self._before, Message("user", prompt))]
        if not any(turn.role in _SYSTEM for turn in turns):
            turns[:0] = self.recipes.answering.turns()
        reader = AnswerReader(prompt, self._scripts(prompt), self.limits.answer_chars_max, self._objections())
        return Call(ANSWERER, tuple(turns), sampling), reader

    def sample(self, prompt: str, answer: str) -> Sample:
        """The rewritten sample."""
        parent = self.rewrite.parent
        question, response = parent.messages[-2:]
        messages = (*self._before, replace(question, content=prompt), replace(response, content=answer))
        reference = None if self.axis is Axis.SPARSE else parent.reference
        return replace(
            parent,
            id=self.sample_id,
            revision=self.revision,
            content_hash=content_hash_of(messages, parent.tools_json, reference),
            messages=messages,
            reference=reference,
            origin=Origin(
                OriginKind.REFINED,
                parent_ids=(parent.id,),
                recipe=self.recipes.refining[self.axis].name,
                recipe_version=self.recipes.version_for(self.axis),
                round=self.rewrite.round_id,
                axis=self.axis,
            ),
            metadata_json="" if stands_beside(self.rewrite) else parent.metadata_json,
        )

    @property
    def _before(self) -> tuple[Message, ...]:
        return self.rewrite.parent.messages[:-2]

    @property
    def _question(self) -> str:
        return self.rewrite.parent.messages[-2].content

    def _answers(self) -> tuple[str, ...]:
        """What a new prompt for the same thing must leave out; a wholly new prompt has another answer."""
        if self.axis is Axis.SPARSE:
            return ()
        reference = self.rewrite.parent.reference
        return (response_text(self.rewrite.parent), reference.answer if reference else "")

    def _marked_turn(self) -> tuple[str, str]:
        """The marks, and the material between them with what is told beside it."""
        fence, blocks = marked(self._shown())
        return fence, "\n\n".join([*blocks, *self._told()])

    def _plain_turn(self) -> str:
        """The prompt; on the sparse axis with its neighbours, each as a task of its own."""
        if self.axis is not Axis.SPARSE:
            return self._question
        return "\n\n".join(f"Task: {text}" for text in (self._question, *self._hints()))

    def _shown(self) -> list[tuple[str, str]]:
        """Titles and texts of what a refiner is given to work on."""
        rewrite, axis, beside = self.rewrite, self.axis, self.limits.beside_chars_max
        shown = [(f"Before it, {turn.role}", turn.content) for turn in self._before]
        shown.append(("The prompt", self._question))
        if axis is Axis.SPARSE:
            shown += [(f"Neighbouring prompt {n}", hint) for n, hint in enumerate(self._hints(), 1)]
        if self.prompt_alone:
            return shown
        if axis is not Axis.SPARSE:
            shown.append(("Its answer", _cut(response_text(rewrite.parent), beside)))
            if rewrite.parent.reference is not None and rewrite.parent.reference.answer:
                shown.append(("The result that its answer must come to", _cut(rewrite.parent.reference.answer, beside)))
        if rewrite.previous_failure:
            shown.append(("Why your attempt before was turned away", _cut(rewrite.previous_failure, beside)))
        return shown

    def _hints(self) -> Iterator[str]:
        left = self.limits.material_chars_max
        for hint in self.rewrite.hints:
            cut = _cut(hint, self.limits.beside_chars_max)
            left -= len(cut)
            if left < 0:
                return
            yield cut

    def _told(self) -> list[str]:
        """What was measured, for a refiner to know."""
        rewrite = self.rewrite
        if self.axis is Axis.LOW_QUALITY and rewrite.parent_quality is not None and not self.prompt_alone:
            told = f"Prompt and answer were judged {rewrite.parent_quality:.1f} of 10; below {rewrite.bound:.1f} is poor."
            return [told]
        return []

    def _objections(self) -> Objections | None:
        """The authors object to nothing."""
        if self.prompt_alone:
            return None
        texts = (self._question, response_text(self.rewrite.parent), *self.rewrite.hints)
        return Objections(texts, self.limits.loop_ratio_max)

    def _scripts(self, *more: str) -> frozenset[str]:
        parent = self.rewrite.parent
        return scripts_of((self._question, response_text(parent), *self.rewrite.hints, *more))


def task_for(rewrite: Rewrite, recipes: Recipes, limits: RewritingLimits, *, prompt_alone: bool) -> Task:
    """The attempt that a rewrite asks for.

    Raises:
        NotRewritable: the parent is no conversation that can be rewritten, or too long, or no revision is left.
        ValueError: the axis is not known to this release.
    """
    parent = rewrite.parent
    Axis(rewrite.axis)
    if parent.tools_json or any(turn.role == "tool" or turn.tool_calls for turn in parent.messages):
        raise NotRewritable(Obstacle.TOOLS, "conversations with tools are not rewritten")
    if [turn.role for turn in parent.messages[-2:]] != ["user", "assistant"] or not parent.messages[-2].content.strip():
        raise NotRewritable(Obstacle.NO_QUESTION, "the conversation does not end with a user turn and its answer")
    chars = sum(len(turn.content) for turn in parent.messages[:-1])
    if chars > limits.material_chars_max:
        raise NotRewritable(Obstacle.TOO_LONG, f"the prompt has {chars} characters; {limits.material_chars_max} are rewritten")
    try:
        sample_id, revision = identity_of_rewrite(rewrite)
    except ValueError as error:
        raise NotRewritable(Obstacle.NO_REVISION, str(error)) from error
    return Task(rewrite, recipes, limits, sample_id, revision, prompt_alone)


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[:chars_max]} \u2026"
