"""The form of a text: patterns, formats and languages. Every question takes time linear in the text; of patterns: `steps_max`."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from headrace.checks._json import NotStrictJson, read

_PATTERN_BYTES_MAX = 8 * 1024 * 1024
_JSON_DEPTH_MAX = 256
_LANGUAGE_CHARS_MAX = 4_000
_LIST_ITEM = re.compile(r"\s{0,12}(?:[-*+]|\d{1,9}[.)])\s+\S")
_CONTINUATION = re.compile(r"(?:\s{2,}|\t)\S")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})(.*)")
# Code and formulas have letters but no language.
_NO_LANGUAGE = r"(?s)```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\[A-Za-z]+|https?://\S+"


@dataclass(frozen=True, slots=True)
class Language:
    """What a text looks like: the likeliest language and, of all the detector's confidence, the allowed languages' share."""

    likeliest: str
    likeliest_confidence: float
    allowed: float


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """The RE2 pattern, compiled. RE2 never backtracks, but where its automaton outgrows its memory it is slow: see `steps_max`.

    Raises:
        ValueError: RE2 does not take it (it has neither look-around nor back-references).
    """
    import re2  # noqa: PLC0415 - in an extra

    options = re2.Options()
    options.max_mem = _PATTERN_BYTES_MAX
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"the pattern {pattern!r} is not one RE2 takes: {said}") from error


def steps_max(patterns: Iterable[str], text: str) -> int:
    """How many steps RE2 takes at most to search the text for the patterns: so many where its automata outgrow their memory."""
    instructions: int = sum(compiled(pattern).programsize for pattern in patterns)
    return len(text) * instructions


def first_match(pattern: str, text: str) -> str | None:
    """The first text that the RE2 pattern matches, or None."""
    match = compiled(pattern).search(_encodable(text))
    return None if match is None else str(match.group())


def format_violation(text: str, required: str) -> str:
    """What keeps the text from being `json`, a `markdown_list` or one with a `code_block`; '' where nothing does."""
    return _FORMATS[required](text)


def language_of(text: str, allowed: Sequence[str], letters_min: int) -> Language | None:
    """What the text's beginning looks like, code and formulas left out; None where fewer than `letters_min` letters are left."""
    prose = str(compiled(_NO_LANGUAGE).sub(" ", _encodable(text[:_LANGUAGE_CHARS_MAX])))
    if sum(map(str.isalpha, prose)) < letters_min:
        return None
    shares = {_code(found.language): found.value for found in _detector().compute_language_confidence_values(prose)}
    likeliest = max(shares, key=lambda code: shares[code])
    return Language(likeliest, shares[likeliest], sum(shares.get(code, 0.0) for code in set(allowed)))


@cache
def languages_known() -> frozenset[str]:
    """The two-letter codes of the languages that can be told apart."""
    from lingua import Language as Known  # noqa: PLC0415 - in an extra

    return frozenset(_code(language) for language in Known.all())


@cache
def _detector() -> Any:
    from lingua import LanguageDetectorBuilder  # noqa: PLC0415 - in an extra

    # All languages, or one that is not allowed would be taken for the nearest allowed one. The low-accuracy mode holds them in
    # 60 MB and is as good for texts as long as `language_letters_min` asks for.
    return LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()


def _code(language: Any) -> str:
    return str(language.iso_code_639_1.name).lower()


def _encodable(text: str) -> str:
    """RE2 and the detector read UTF-8, which has no lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _json_violation(text: str) -> str:
    try:
        read(text, depth_max=_JSON_DEPTH_MAX)
    except NotStrictJson as error:
        return f"format json: {error}"
    return ""


def _list_violation(text: str) -> str:
    items = 0
    for line in text.splitlines():
        if _LIST_ITEM.match(line):
            items += 1
        elif line.strip() and not (items and _CONTINUATION.match(line)):
            return f"format markdown_list: {line.strip()[:60]!r} is no list item"
    return "" if items else "format markdown_list: there is no list item"


def _code_violation(text: str) -> str:
    blocks, fence = 0, ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if match is None:
            continue
        if not fence:
            fence = match[1]
        elif match[1].startswith(fence) and not match[2].strip():
            blocks, fence = blocks + 1, ""
    if fence:
        return f"format code_block: a block opened by {fence[:10]} is not closed"
    return "" if blocks else "format code_block: there is none"


_FORMATS: dict[str, Callable[[str], str]] = {
    "json": _json_violation,
    "markdown_list": _list_violation,
    "code_block": _code_violation,
}
