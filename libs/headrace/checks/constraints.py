"""The response keeps to the stated form: length, language, format, patterns, allowed answers."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.checks import _form
from headrace.checks._answers import final_answers, normalised
from headrace.checks._contract import CPU_S_MAX, Finding, LimitReached, Workers, failed, is_short, not_made, passed
from headrace.core.dossiers import CURRENT, Dossier
from headrace.core.samples import response_text

VERSION = 2

Count = Annotated[int, Field(ge=0, le=100_000_000, strict=True)]
Pattern = Annotated[str, Field(min_length=1, max_length=1_000)]
Option = Annotated[str, Field(min_length=1, max_length=200)]
LanguageCode = Annotated[str, Field(pattern="^[a-z]{2}$")]

_QUICK_STEPS_MAX = 200_000
"""So many steps of the patterns take 2 to 3 ms at most. Where there may be more, a worker takes them, which can be killed."""


class Settings(BaseModel):
    """What a policy may set for `constraints`; all that are set must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens_min: Count | None = Field(None, description="Least response tokens, as the model being trained counts them.")
    tokens_max: Count | None = Field(None, description="Most response tokens, as the model being trained counts them.")
    characters_min: Count | None = Field(None, description="Least characters of the response.")
    characters_max: Count | None = Field(None, description="Most characters of the response.")
    languages: tuple[LanguageCode, ...] = Field(
        (), max_length=75, description="Languages the response may be in, two-letter ISO 639-1 codes; empty allows any."
    )
    language_confidence_min: float = Field(
        0.5, gt=0, le=1, strict=True, description="The response is in another language where the allowed ones have less."
    )
    language_letters_min: Count = Field(
        40, description="Responses with fewer letters, code and formulas apart, are too short to tell and pass."
    )
    format: Literal["json", "markdown_list", "code_block"] | None = Field(
        None, description="json: one JSON document. markdown_list: list items and nothing else. code_block: at least one."
    )
    must_match: tuple[Pattern, ...] = Field((), max_length=32, description="RE2 patterns that the response contains.")
    must_not_match: tuple[Pattern, ...] = Field((), max_length=32, description="RE2 patterns that it does not contain.")
    options: tuple[Option, ...] = Field(
        (), max_length=200, description="The response, its last line or its last \\boxed{} is one of these; empty allows any."
    )
    options_ignore_case: bool = Field(False, strict=True, description="Take upper and lower case of options for the same.")
    cpu_s_max: float = Field(
        2.0,
        ge=0.1,
        le=CPU_S_MAX,
        strict=True,
        description="Processor time for a long response or costly patterns, seconds; then the check is not made.",
    )

    @model_validator(mode="after")
    def _possible(self) -> "Settings":
        for unit in ("tokens", "characters"):
            least, most = getattr(self, f"{unit}_min"), getattr(self, f"{unit}_max")
            if least is not None and most is not None and least > most:
                raise ValueError(f"{unit}_min ({least}) is above {unit}_max ({most}): nothing could be admitted")
        lengths = (self.tokens_min, self.tokens_max, self.characters_min, self.characters_max)
        lists = (self.languages, self.must_match, self.must_not_match, self.options)
        if self.format is None and not any(lists) and all(bound is None for bound in lengths):
            raise ValueError("sets no constraint: name at least one")
        return self


def validate(settings: Settings) -> None:
    """See that the patterns are RE2's and the languages ones that can be told."""
    for pattern in (*settings.must_match, *settings.must_not_match):
        _form.compiled(pattern)
    if settings.languages:
        known = _form.languages_known()
        for code in settings.languages:
            if code not in known:
                raise ValueError(f"languages: {code!r} cannot be told from others; known: {', '.join(sorted(known))}")


def applies(_dossier: Dossier, _settings: Settings) -> bool:
    """Every sample has a response."""
    return True


async def check(dossier: Dossier, settings: Settings, workers: Workers) -> Finding:
    """Every constraint that is violated is named; one that cannot be judged counts only where none is violated."""
    response = response_text(dossier.sample)
    violated, unknown = _tokens(dossier, settings)
    violated += _lengths(response, settings)
    try:
        violated += await _violations(response, settings, workers)
    except LimitReached as reached:
        unknown = str(reached)
    if settings.languages:
        violated += await asyncio.to_thread(_language, response, settings)
    if violated:
        return failed("; ".join(violated))
    return not_made(unknown) if unknown else passed("every constraint holds")


def violations(response: str, settings: Settings) -> list[str]:
    """What is violated of patterns, options and format, which look at the whole text."""
    return [*_patterns(response, settings), *_answer(response, settings), *_format(response, settings)]


async def _violations(response: str, settings: Settings, workers: Workers) -> list[str]:
    """Looked for here where that is quick, else in a worker."""
    if _is_quick(response, settings):
        return violations(response, settings)
    request = {"response": response, "settings": settings.model_dump_json()}
    reply = await workers.run("constraints", request, settings.cpu_s_max)
    return [str(reply["violated"])] if reply["violated"] else []


def _is_quick(response: str, settings: Settings) -> bool:
    if (settings.options or settings.format is not None) and not is_short(response, *settings.options):
        return False
    return _form.steps_max((*settings.must_match, *settings.must_not_match), response) <= _QUICK_STEPS_MAX


def _tokens(dossier: Dossier, settings: Settings) -> tuple[list[str], str]:
    """Violations, and why the count cannot be judged where it cannot."""
    least, most = settings.tokens_min, settings.tokens_max
    if least is None and most is None:
        return [], ""
    signals = dossier.signals_of(CURRENT)
    if signals is None or signals.error:
        return [], "the response's tokens were not counted"
    count = signals.response_tokens
    if most is not None and count > most:
        return [f"{count} response tokens, tokens_max is {most}"], ""
    if signals.truncated:  # the model read no further: there are at least this many
        enough = least is None or count >= least
        return [], "" if enough and most is None else f"{count} response tokens were read, and there are more"
    if least is not None and count < least:
        return [f"{count} response tokens, tokens_min is {least}"], ""
    return [], ""


def _lengths(response: str, settings: Settings) -> Iterator[str]:
    least, most = settings.characters_min, settings.characters_max
    if least is not None and len(response) < least:
        yield f"{len(response)} characters, characters_min is {least}"
    if most is not None and len(response) > most:
        yield f"{len(response)} characters, characters_max is {most}"


def _patterns(response: str, settings: Settings) -> Iterator[str]:
    for pattern in settings.must_match:
        if _form.first_match(pattern, response) is None:
            yield f"must_match {pattern!r} is not found"
    for pattern in settings.must_not_match:
        match = _form.first_match(pattern, response)
        if match is not None:
            yield f"must_not_match {pattern!r} is found: {match[:60]!r}"


def _answer(response: str, settings: Settings) -> Iterator[str]:
    if not settings.options:
        return
    ignore_case = settings.options_ignore_case
    options = {normalised(option, ignore_case=ignore_case) for option in settings.options}
    answers = final_answers(response)
    if not any(normalised(answer, ignore_case=ignore_case) in options for answer in answers):
        yield f"the answer {answers[-1][:60]!r} is none of the options {', '.join(settings.options)}"


def _format(response: str, settings: Settings) -> Iterator[str]:
    violation = _form.format_violation(response, settings.format) if settings.format is not None else ""
    if violation:
        yield violation


def _language(response: str, settings: Settings) -> list[str]:
    seen = _form.language_of(response, settings.languages, settings.language_letters_min)
    if seen is None or seen.allowed >= settings.language_confidence_min:
        return []
    wanted = ", ".join(settings.languages)
    return [f"looks like {seen.likeliest} ({seen.likeliest_confidence:.2f}), not {wanted} ({seen.allowed:.2f})"]
