"""Reading what a model wrote where a prompt or an answer was asked for: used as it is, or not at all."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from headrace.core.chat_answers import Unreadable
from headrace.core.rounds.objections import Objections

OPENING, CLOSING = "<new_prompt>", "</new_prompt>"
"""Between these a refiner writes the prompt. Nothing but text is asked for: small models write it sooner than JSON."""
_THINKING = ("<think>", "</think>")
_BLOCKS_READ = 4
_NO_PROMPTS = frozenset({"", "and", "or", "...", "\u2026", "the new prompt", "your new prompt"})
_LABEL = re.compile(r"(?:(?:new|rewritten|easier|better) )?(?:task|prompt|question):\s*", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_QUOTED = frozenset({'""', "''", "\u201c\u201d"})
_CHARS_READ = 4_000
"""How much of a text tells its script."""
_ASCII_OTHERS = bytes(code for code in range(128) if not chr(code).isalpha())
_LETTERS_TELLING = 12
"""With fewer letters nothing is said about a language."""
_SCRIPT_SHARE_MIN = 0.7
_SCRIPT_SHARE_KNOWN = 0.05
_GIVEN_AWAY_CHARS_MIN = 16
"""Shorter answers stand in many a question."""
_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "IDEOGRAPHIC": "CJK"}
_NO_SCRIPT = frozenset({"MATHEMATICAL", "DOUBLE-STRUCK", "SUPERSCRIPT", "SUBSCRIPT", "MODIFIER", "SCRIPT", "MICRO"})
"""First words of the names of letters that formulas are made of."""


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Reads a new prompt. Called with a reply's text it returns the prompt.

    `fence` marks material in what the model was shown; where it is empty there were no marks, and the reply is the prompt.
    `scripts` are those the sample is written in, `known` are prompts that must not come back, `answers` what the prompt must not
    say, unless `before`, the prompt as it was, says it too. `objections` are further rules for it, None for none.
    """

    fence: str
    scripts: frozenset[str]
    chars_max: int
    known: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    before: str = ""
    objections: Objections | None = None

    def __call__(self, text: str) -> str:
        """Raises Unreadable, in words that the model is shown, where there is no usable prompt."""
        text = thought_through(text)
        if self.fence and self.fence in text:
            raise Unreadable("it repeats the material together with its marks. Write the new prompt alone.")
        prompt = _between_marks(text) if self.fence else _alone(text)
        _require_text(prompt, self.chars_max, "the prompt")
        plain = _plain(prompt)
        if plain in {_plain(each) for each in self.known}:
            raise Unreadable("it is a prompt that you were shown, word for word. Write a new one.")
        for answer in map(_plain, self.answers):
            if len(answer) >= _GIVEN_AWAY_CHARS_MIN and answer in plain and answer not in _plain(self.before):
                raise Unreadable("the prompt gives its answer away. Ask, and leave the answer out.")
        _require_scripts(prompt, self.scripts)
        if self.objections is not None:
            self.objections.require_none(prompt)
        return prompt


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads an answer to `prompt`. Called with a reply's text it returns the answer."""

    prompt: str
    scripts: frozenset[str]
    chars_max: int
    objections: Objections | None = None

    def __call__(self, text: str) -> str:
        """Raises Unreadable, in words that the model is shown, where there is no usable answer."""
        answer = thought_through(text).strip()
        _require_text(answer, self.chars_max, "the answer")
        if _plain(answer) == _plain(self.prompt):
            raise Unreadable("it repeats the question. Answer it.")
        _require_scripts(answer, self.scripts)
        if self.objections is not None:
            self.objections.require_none(answer, self.prompt)
        return answer


def scripts_of(texts: Iterable[str]) -> frozenset[str]:
    """The scripts of a good part of the letters; empty where there are too few letters to tell."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_scripts(text))
    total = counts.total()
    if total < _LETTERS_TELLING:
        return frozenset()
    return frozenset(script for script, count in counts.items() if count >= _SCRIPT_SHARE_KNOWN * total)


def thought_through(text: str) -> str:
    """The text without the thoughts that some models write first."""
    opening, closing = _THINKING
    if opening not in text and closing not in text:
        return text
    if closing not in text:
        raise Unreadable("it ends in the middle of its thoughts. Think less.")
    return text[text.rindex(closing) + len(closing) :]


def _between_marks(text: str) -> str:
    """The last block; what merely speaks of the marks is none."""
    end = len(text) if text.rfind(OPENING) <= text.rfind(CLOSING) else -1  # a block that was begun and not ended is no block
    for _ in range(_BLOCKS_READ):
        end = text.rfind(CLOSING, 0, max(0, end))
        start = text.rfind(OPENING, 0, max(0, end))
        if start < 0:
            break
        block = text[start + len(OPENING) : end].strip()
        if _plain(block) not in _NO_PROMPTS:
            return block
        end = start
    raise Unreadable(f"the new prompt does not stand between {OPENING} and {CLOSING}.")


def _alone(text: str) -> str:
    """A reply without the label or the quotation marks that models like to put around it."""
    text = text.strip()
    if label := _LABEL.match(text):
        text = text[label.end() :]
    return text[1:-1].strip() if len(text) > 1 and text[0] + text[-1] in _QUOTED else text


def _require_text(text: str, chars_max: int, what: str) -> None:
    if not any(character.isalnum() for character in text):
        raise Unreadable(f"{what} is empty.")
    if len(text) > chars_max:
        raise Unreadable(f"{what} has {len(text)} characters: write {chars_max} at most.")
    if _CONTROL.search(text):
        raise Unreadable(f"{what} holds control characters.")


def _require_scripts(text: str, scripts: frozenset[str]) -> None:
    """Languages of one script are not told apart here: some are by `Objections`, many by the check `constraints` of a policy."""
    counts = _scripts(text)
    total = counts.total()
    if not scripts or total < _LETTERS_TELLING:
        return
    if sum(counts[script] for script in scripts) < _SCRIPT_SHARE_MIN * total:
        raise Unreadable("it is written in another language than the material. Keep the language.")


def _scripts(text: str) -> Counter[str]:
    text = text[:_CHARS_READ]
    if text.isascii():
        return Counter(LATIN=len(text.encode().translate(None, _ASCII_OTHERS)))
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():  # few characters come often: each is looked up once
        if script := _script_of(character):
            counts[script] += count
    return counts


@lru_cache(maxsize=4_096)
def _script_of(character: str) -> str:
    """The script of a letter; empty for what tells none."""
    script = unicodedata.name(character, "OTHER").split(" ", 1)[0] if character.isalpha() else ""
    return "" if script in _NO_SCRIPT else _ONE_SCRIPT.get(script, script)


def _plain(text: str) -> str:
    """Equal for texts that differ in nothing but case and white space."""
    return " ".join(text.casefold().split())
