"""An answer that can be read, or none: a call is repeated with the error shown to the model, a few times."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from headrace.core.chat import Call, Hindrance, NotMade
from headrace.core.dossiers import Cost
from headrace.core.ports.chat_model import ChatModel
from headrace.core.samples import Message

Value = TypeVar("Value")
SHOWN_CHARS_MAX = 2_000
"""How much of an unreadable reply the model is shown again: a long one would not fit its window."""
ERROR_CHARS_MAX = 500


class Unreadable(ValueError):
    """The reply is not what was asked for. The message is shown to the model: it says what is wrong, and wanted instead."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value]):
    """What was read, from which text, after how many attempts. `costs` holds one entry for each call that was paid."""

    value: Value
    text: str
    attempts: int
    costs: tuple[Cost, ...]


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there is none; `costs` as in `Answer`."""

    hindrance: Hindrance
    detail: str
    attempts: int
    costs: tuple[Cost, ...]


async def answer_of(
    chat: ChatModel, call: Call, parse: Callable[[str], Value], *, attempts_max: int = 3
) -> Answer[Value] | NoAnswer:
    """Ask until `parse` can read the reply; it raises Unreadable where it cannot.

    Attempts count on from the call's own, so a caller who asks anew leaves a gap of at least `attempts_max`. A call that is
    not made ends it: the endpoint has been tried again by then, and refuses or garbles this one.

    Raises:
        headrace.core.events.Stop, ValueError: as `ChatModel.ask`.
    """
    costs: list[Cost] = []
    detail = ""
    asked = call
    for attempt in range(1, attempts_max + 1):
        outcome = await chat.ask(asked)
        if outcome.cost is not None:
            costs.append(outcome.cost)
        if isinstance(outcome, NotMade):
            return NoAnswer(outcome.hindrance, outcome.detail, attempt, tuple(costs))
        try:
            return Answer(parse(outcome.text), outcome.text, attempt, tuple(costs))
        except Unreadable as error:
            detail = str(error)[:ERROR_CHARS_MAX]
            asked = _with_error_shown(call, attempt, outcome.text, detail)
    return NoAnswer(Hindrance.INVALID, detail, attempts_max, tuple(costs))


def _with_error_shown(call: Call, attempt: int, text: str, detail: str) -> Call:
    """The call with its last unreadable reply and the error as further turns; earlier ones are left out."""
    shown = (
        Message("assistant", text[:SHOWN_CHARS_MAX]),
        Message("user", f"That cannot be read: {detail}\nAnswer again, in the form asked for and nothing else."),
    )
    return replace(call, messages=(*call.messages, *shown), attempt=call.attempt + attempt)
