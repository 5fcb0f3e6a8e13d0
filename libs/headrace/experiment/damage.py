"""What is done to a text to damage it: pure, and the same for the same random numbers."""

import random
import re
import string
from enum import StrEnum

_TRUNCATED_SHARES = (0.2, 0.6)
_REPLACED_LETTERS = 5
_WORDS_PER_EDIT = 25


class Damage(StrEnum):
    """The kinds of damage."""

    SHUFFLED_ANSWER = "shuffled_answer"
    """The answer to another problem."""
    TRUNCATED_ANSWER = "truncated_answer"
    """The answer breaks off after 20 to 60% of its words."""
    GARBLED_PROMPT = "garbled_prompt"
    """The question's words in another order, one letter in five replaced."""
    NEAR_COPY = "near_copy"
    """Another row again, one word in 25 with a slip of the pen."""
    OFF_TOPIC = "off_topic"
    """Small talk in place of question and answer."""


def truncated(text: str, chance: random.Random) -> str:
    """A beginning of the text, shorter than it and not empty; it ends with a whole word where the text has several.

    Raises:
        ValueError: the text has fewer than two characters.
    """
    if len(text) < 2:  # noqa: PLR2004 - the docstring's
        raise ValueError("a text of one character cannot be truncated")
    share = chance.uniform(*_TRUNCATED_SHARES)
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    if len(ends) < 2:  # noqa: PLR2004 - the last end is no beginning
        return text[: max(1, int(share * len(text)))]
    return text[: ends[max(0, min(int(share * len(ends)), len(ends) - 1) - 1)]]


def garbled(text: str, chance: random.Random) -> str:
    """The words in another order, at least one letter and about one in five replaced by another: as long, and never the same.

    Raises:
        ValueError: the text has no letter.
    """
    pieces = re.split(r"(\s+)", text)
    words = pieces[::2]
    chance.shuffle(words)
    pieces[::2] = words
    characters = list("".join(pieces))
    letters = [place for place, character in enumerate(characters) if character in string.ascii_letters]
    if not letters:
        raise ValueError("a text without letters cannot be garbled")
    for place in chance.sample(letters, -(-len(letters) // _REPLACED_LETTERS)):
        characters[place] = chance.choice([each for each in string.ascii_lowercase if each != characters[place].lower()])
    mixed = "".join(characters)
    return mixed if mixed != text else _one_letter_off(mixed, letters[0])


def lightly_edited(text: str, chance: random.Random) -> str:
    """The text with one word in 25, at least one, written with a letter doubled: as many words, never the same text.

    Raises:
        ValueError: the text has no letter.
    """
    spans = [match.span() for match in re.finditer(r"\S*[A-Za-z]\S*", text)]
    if not spans:
        raise ValueError("a text without letters cannot be edited")
    edits = chance.sample(spans, max(1, len(spans) // _WORDS_PER_EDIT))
    for start, end in sorted(edits, reverse=True):
        place = chance.choice([at for at in range(start, end) if text[at] in string.ascii_letters])
        text = text[:place] + text[place] + text[place:]
    return text


def _one_letter_off(text: str, place: int) -> str:
    """Words in another order and letters replaced can make the same text again."""
    other = "b" if text[place].lower() == "a" else "a"
    return text[:place] + other + text[place + 1 :]
