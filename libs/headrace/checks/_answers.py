"""Where in a response its final answer may stand, for checks that compare text. Every question takes time linear in the text."""

import re
import unicodedata
from itertools import pairwise

_LONG_RUN = re.compile("(?:M.){30}(?=M)")
_JOINER = "\u034f"


def normalised(text: str, *, ignore_case: bool) -> str:
    """Unicode NFC, runs of white space as one blank, no blank or full stop at the end.

    Runs of more than 30 combining marks are parted first, as Unicode's Stream-Safe Text Format has it.
    """
    composed = text if text.isascii() else unicodedata.normalize("NFC", _parted(text))
    folded = " ".join(composed.split()).removesuffix(".").rstrip()
    return folded.casefold() if ignore_case else folded


def _parted(text: str) -> str:
    """With a joiner behind every 30 marks in a row: NFC sorts each run in time quadratic in it, and no writing has runs so long.

    Marks are told by their category, not by their combining class: some of class 0 are put together from others.
    """
    categories = "".join(map(unicodedata.category, text))  # two letters each; what begins with M is a mark, no other has an M
    ends = [run.end() // 2 for run in _LONG_RUN.finditer(categories)]
    return _JOINER.join(text[start:end] for start, end in pairwise((0, *ends, len(text))))


def final_answers(response: str) -> tuple[str, ...]:
    r"""What may be meant as the answer: the whole response, its last line that is not blank, its last \boxed{...}."""
    stripped = response.strip()
    last_line = stripped.rpartition("\n")[2]
    boxed = _last_boxed(stripped)
    return (stripped, last_line) if boxed is None else (stripped, last_line, boxed)


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for index in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : index]
    return None
