"""What the judge reads: a sample between fences that it cannot end, and six questions behind it.

The sample's tokens come once, the questions behind them: those on the prompt see the sample up to the end of the prompt, those
on the response see all of it, and none sees another. Texts and questions are files of `judge_prompts`; a version of them is
never changed, because scores by different texts cannot be compared.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from headrace.core.dossiers import JUDGED
from headrace.lm.conversations import ConversationReader, Rendered, Unreadable

VERSION = "v1"
PROMPT_QUESTIONS = 3
"""How many of the six questions are on the prompt: the first ones."""

_FOLDER = Path(__file__).parent / "judge_prompts" / VERSION
_MARKER = "[[the judge's question]]"
_FENCE_MIN = 3
_FENCE_MAX = 64


@dataclass(frozen=True, slots=True)
class Ruler:
    """The judge's texts, one question for each of `JUDGED`, and `lead`: the words that are put into its mouth."""

    sample: str
    response: str
    questions: tuple[str, ...]
    answer: str
    lead: str

    @staticmethod
    @cache
    def of(mode: str) -> "Ruler":
        """The ruler of this mode, "logits" or "generated"."""

        def text(name: str) -> str:
            return (_FOLDER / f"{name}.txt").read_text("utf-8")

        questions = tuple(text(name).strip() for name in JUDGED)
        return Ruler(text("sample"), text("response"), questions, text(f"answer_{mode}").strip(), text("lead").rstrip("\n"))


@dataclass(frozen=True, slots=True)
class Quoted:
    """A sample as token ids between fences: up to the prompt's end, and from there to the response's."""

    index: int
    prompt: list[int]
    response: list[int]
    asked: int
    truncated: bool

    @property
    def length(self) -> int:
        """All tokens of the sample and of the six questions."""
        return len(self.prompt) + len(self.response) + self.asked


class JudgeReader:
    """Lays out samples for one model and one mode. `tokens_max` limits the sample's own tokens, as for signals."""

    def __init__(self, reader: ConversationReader, mode: str, *, tokens_max: int, positions_max: int | None) -> None:
        self._reader = reader
        self._ruler = Ruler.of(mode)
        self._frames: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        before, behind = reader.around(_MARKER)
        self._before = before
        self.closing = behind + self._ruler.lead
        self.questions = tuple(
            reader.ids(f"\n{question} {self._ruler.answer}{self.closing}") for question in self._ruler.questions
        )
        self._tokens_max = tokens_max
        if positions_max is not None:  # of which fences and questions take some, and those are not cut
            around = reader.ids(before + self._ruler.sample + self._ruler.response)
            room = positions_max - len(around) - 4 * _FENCE_MAX - max(map(len, self.questions)) - 1
            if room < 1:
                raise Unreadable(f"{positions_max} positions are too few for the judge's own words")
            self._tokens_max = min(tokens_max, room)

    def ruler_hash(self, decoding: Mapping[str, Any]) -> str:
        """SHA-256 (lower-case hex) of everything that a score depends on but the sample and the weights."""
        ruler = self._ruler
        measured_with = [ruler.sample, ruler.response, ruler.questions, ruler.answer, self._before, self.closing, decoding]
        return hashlib.sha256(json.dumps(measured_with, sort_keys=True).encode()).hexdigest()

    def quoted(self, conversations: Sequence[Mapping[str, Any]]) -> list[Quoted | Unreadable]:
        """One layout per conversation, in order, or why there is none. What is too long is cut at its end, and says so."""
        read: list[tuple[Rendered, str] | Unreadable] = []
        for conversation in conversations:
            try:
                plain = self._reader.plain(conversation)
                self._require_no_lead(plain)
                read.append((plain, _fence_around(plain)))
            except Unreadable as error:
                read.append(error)
        texts = [text for one in read if not isinstance(one, Unreadable) for text in (one[0].prompt, one[0].response)]
        ids = iter(self._reader.quoted_ids(texts))
        return [
            one if isinstance(one, Unreadable) else self._laid_out(index, one[1], next(ids), next(ids))
            for index, one in enumerate(read)
        ]

    def _require_no_lead(self, plain: Rendered) -> None:
        """Models repeat what stood behind the same words before: a sample that holds them could put a score there.

        Raises:
            Unreadable: the sample holds the words that are put into the judge's mouth.
        """
        lead = _letters(self._ruler.lead)
        if any(lead in _letters(text) for text in (plain.prompt, plain.response)):
            raise Unreadable(f"the sample holds the words that the judge begins its answer with, {self._ruler.lead!r}")

    def _laid_out(self, index: int, fence: str, prompt: list[int], response: list[int]) -> Quoted | Unreadable:
        if self._reader.has_marker(prompt) or self._reader.has_marker(response):
            return Unreadable("the tokenizer reads a marker of the chat template in the sample's own text")
        kept = prompt[: self._tokens_max], response[: max(0, self._tokens_max - len(prompt))]
        if response and not kept[1]:
            return Unreadable(f"no response token within {self._tokens_max} tokens")
        return Quoted(
            index,
            self._fenced(self._before + self._ruler.sample, fence, kept[0]),
            self._fenced(self._ruler.response, fence, kept[1]),
            sum(map(len, self.questions)),
            truncated=len(prompt) + len(response) > self._tokens_max,
        )

    def _fenced(self, frame: str, fence: str, ids: list[int]) -> list[int]:
        """The tokens on either side are made apart from the sample's: none spans the border."""
        if (frame, fence) not in self._frames:  # there are as many fences as they may be long
            before, _, behind = frame.replace("{fence}", fence).partition("{text}")
            self._frames[frame, fence] = self._reader.ids(before), self._reader.ids(behind)
        before_ids, behind_ids = self._frames[frame, fence]
        return [*before_ids, *ids, *behind_ids]


def _letters(text: str) -> str:
    """Without case and white space."""
    return "".join(text.casefold().split())


def _fence_around(plain: Rendered) -> str:
    """A row of backticks longer than any in the sample.

    Raises:
        Unreadable: that would be too long a row.
    """
    longest = max((len(run) for text in (plain.prompt, plain.response) for run in re.findall("`+", text)), default=0)
    if longest >= _FENCE_MAX:
        raise Unreadable(f"a row of {longest} backticks: nothing below {_FENCE_MAX} can fence it")
    return "`" * max(_FENCE_MIN, longest + 1)
