"""One call of a generating model, what became of it, and the identity under which its reply is kept."""

import hashlib
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from json.encoder import encode_basestring as _text
from typing import Any

from headrace.core.dossiers import Cost
from headrace.core.samples import Message

REFINER = "refiner"
ANSWERER = "answerer"
JUDGE = "judge"
_TURN_TOKENS = 16
"""More than any chat template in use spends on a turn beside its content."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the reply is drawn.

    `max_tokens` bounds the reply; the endpoint's own bound (its setting) goes before. `seed` is a wish that some endpoints
    ignore. The reply ends before the first of the texts in `stop`.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who is asked (`role`, which settings map to an endpoint), what, and how.

    `messages` are plain turns: role and content count, nothing else of them. `schema_json` is a JSON Schema for the reply,
    or empty: a wish too, so the caller validates. `attempt` counts from 1; the same call of another attempt is another call,
    made and paid anew. `partition` is that of the event the call is made for (its first position), and says where the reply
    is kept; `account` says what the call is made for, usually a round, and is kept with it. Of
    tries that are sent and not answered `unanswered_max` are made at most, since each may have to be paid; None: as many as
    the endpoint's settings say. None of these three is part of the call's identity.
    """

    role: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    schema_json: str = ""
    attempt: int = 1
    partition: int = 0
    account: str = ""
    unanswered_max: int | None = None


class Hindrance(StrEnum):
    """Why a call was not made, as a stable code."""

    REFUSED = "refused"
    """The endpoint refuses this very call: it answered 4xx."""
    FAILED = "failed"
    """It failed at every try at this call, while it answered others."""
    TOO_LARGE = "too_large"
    """Its answer is larger than we take."""
    MALFORMED = "malformed"
    """Its answer is no chat completion: rubbish, broken JSON, wrong types."""
    EMPTY = "empty"
    """It answered without a text."""
    CUT_OFF = "cut_off"
    """The text reached its limit of tokens before its end."""
    FILTERED = "filtered"
    """The endpoint's content filter took it."""
    INVALID = "invalid"
    """Text came, and none that the caller could read, in all attempts."""
    OVER_BUDGET = "over_budget"
    """It might cost more than the budget has left."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, and the cost of this call. `model` and `finish_reason` are the endpoint's own words or empty."""

    text: str
    cost: Cost
    model: str = ""
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class NotMade:
    """There is no reply, for a reason that lies with the call or the endpoint's answer to it, never with the sample.

    `detail` is for people and may quote the endpoint. `cost` is None where nothing was paid: only then is the call made
    again when it is asked for again. What may have to be paid, since it was sent and not answered, counts as paid.
    """

    hindrance: Hindrance
    detail: str
    cost: Cost | None = None


Outcome = Reply | NotMade


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A call's outcome as it is kept: under the call's identity, with what it was made for and the model that was asked."""

    identity: str
    role: str
    model_asked: str
    account: str
    outcome: Outcome


def identity_of(call: Call, model: str) -> str:
    """SHA-256, lower-case hex, of the canonical JSON of everything that bears on the reply; `model` is the endpoint's.

    Raises:
        ValueError: a number is not finite.
    """
    # Put together of its parts: json takes longer over the lists than over the texts in them.
    sampling = call.sampling
    turns = ",".join([f"[{_text(turn.role)},{_text(turn.content)}]" for turn in call.messages])
    drawn = (
        f"{_number(sampling.temperature)},{_number(sampling.top_p)},{sampling.max_tokens},"
        f"{'null' if sampling.seed is None else sampling.seed},[{','.join(map(_text, sampling.stop))}]"
    )
    whole = f"[{_text(call.role)},{_text(model)},[{turns}],[{drawn}],{_text(call.schema_json)},{call.attempt}]"
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that a call can hold")
    return repr(value)


def prompt_tokens_max(call: Call) -> int:
    """A bound on the tokens of the prompt that needs no tokenizer: no token is shorter than a byte."""
    texts = [turn.content for turn in call.messages]
    texts.append(call.schema_json)
    return sum(map(_bytes_of, texts)) + _TURN_TOKENS * (len(call.messages) + 1)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def before_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text up to the first of the stop texts: an endpoint may have ignored them."""
    ends = [at for at in (text.find(each) for each in stop if each) if at >= 0]
    return text[: min(ends)] if ends else text


def request_of(call: Call, model: str) -> dict[str, Any]:
    """The call in the form of OpenAI's chat completions."""
    sampling = call.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in call.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if call.schema_json:
        schema = {"name": "reply", "strict": True, "schema": json.loads(call.schema_json)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body
