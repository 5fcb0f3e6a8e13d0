"""Where in a response its final answer may stand, for checks that compare text."""

import unicodedata


def normalised(text: str, *, ignore_case: bool) -> str:
    """Unicode NFC, runs of white space as one blank, no blank or full stop at the end."""
    folded = " ".join(unicodedata.normalize("NFC", text).split()).removesuffix(".").rstrip()
    return folded.casefold() if ignore_case else folded


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
