"""Texts that a model is to work on, set apart from what it is told: between marks that follow from the texts themselves."""

import hashlib
from collections.abc import Sequence

_FENCE_DIGITS = 16


def marked(shown: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """The mark, and for each title and text a block: the title, then the text between lines of the mark.

    The mark is a hash of all texts, so nobody can have put it into one of them beforehand.
    """
    digest = hashlib.sha256("\0".join(text for _, text in shown).encode("utf-8", "surrogatepass"))
    fence = f"data-{digest.hexdigest()[:_FENCE_DIGITS]}"
    return fence, [f"{title}:\n[{fence}]\n{text}\n[/{fence}]" for title, text in shown]
