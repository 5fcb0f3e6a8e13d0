"""An endpoint's answer, read with suspicion: a chat completion, or why it is none."""

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from headrace.core.chat import Call, Hindrance, NotMade, Outcome, Reply, before_stop
from headrace.core.dossiers import Cost

_COUNT_MAX = 2**53
"""No endpoint has counted more tokens than this; what says so is rubbish, and must fit its field."""
_NAME_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Prices:
    """Money for a million tokens; None is unknown, never zero."""

    prompt: float | None = None
    completion: float | None = None
    currency: str = ""

    def money(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """What so many tokens cost; None where a count or a price is unknown."""
        if self.prompt is None or self.completion is None or prompt_tokens is None or completion_tokens is None:
            return None
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


def outcome_of(body: bytes, call: Call, prices: Prices, seconds: float) -> Outcome:
    """What a successful answer's body holds; a body that holds nothing usable was paid for all the same."""
    try:
        document = from_json(body)  # a quarter of json's time; takes UTF-8 alone, and no half of a surrogate pair
    except ValueError as error:
        return NotMade(
            Hindrance.MALFORMED, f"the answer is no JSON: {error}; {_quoted(body)}", _cost(call, None, prices, seconds)
        )
    usage = document.get("usage") if isinstance(document, dict) else None
    cost = _cost(call, usage, prices, seconds)
    try:
        text, finish_reason = _text_in(document)
    except _NoCompletion as error:
        return NotMade(Hindrance.MALFORMED, f"the answer is no chat completion: {error}", cost)
    if finish_reason == "length":
        return NotMade(
            Hindrance.CUT_OFF, f"the reply reached its limit of {call.sampling.max_tokens} tokens before its end", cost
        )
    if finish_reason == "content_filter":
        return NotMade(Hindrance.FILTERED, "the endpoint's content filter took the reply", cost)
    text = before_stop(text, call.sampling.stop)
    if not text.strip():
        return NotMade(Hindrance.EMPTY, f"the reply has no text (finish_reason {finish_reason or 'missing'!r})", cost)
    model = document.get("model")
    return Reply(text, cost, _name(model), _name(finish_reason))


class _NoCompletion(ValueError):
    """What the document lacks."""


def _text_in(document: Any) -> tuple[str, str]:
    """The first choice's text, '' where it has none, and why it ended."""
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _NoCompletion("no choices[0].message")
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise _NoCompletion(f"content is of type {type(content).__name__}")
    finish_reason = choice.get("finish_reason")
    if finish_reason is not None and not isinstance(finish_reason, str):
        raise _NoCompletion(f"finish_reason is of type {type(finish_reason).__name__}")
    return content or "", finish_reason or ""


def _cost(call: Call, usage: Any, prices: Prices, seconds: float) -> Cost:
    counts = usage if isinstance(usage, dict) else {}
    prompt, completion = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    money = prices.money(prompt, completion)
    return Cost(call.role, seconds, prompt, completion, money, prices.currency if money is not None else "")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNT_MAX else None


def _name(value: Any) -> str:
    return value[:_NAME_CHARS_MAX] if isinstance(value, str) else ""


def _quoted(body: bytes) -> str:
    return f"it begins {body[:80]!r}" if body else "it is empty"
