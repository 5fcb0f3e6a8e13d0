"""The forms in which a conversation may arrive, each turned into turns, tools and what else came with them.

A reader takes its own keys out of `fields`; what it leaves there is the caller's metadata.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from headrace.core.intake_json import parse_text, to_json
from headrace.core.intake_turns import IntakeLimits, read_tools, read_turn
from headrace.core.refusals import RefusalCode, Refused, shown
from headrace.core.samples import Message

Fields = dict[str, Any]

_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
    "function_call": "assistant",
}
_FORMS_TOLD = "messages, conversations, instruction + output, prompt + completion, or request + response"


@dataclass(slots=True)
class Conversation:
    """What a form's reader found. `extras` are keys of turns and logs that have no place in a sample, kept as metadata."""

    messages: list[Message]
    tools_json: str = ""
    extras: Fields = field(default_factory=dict)


def read_conversation(fields: Fields, limits: IntakeLimits) -> Conversation:
    """Find the form, and read it out of `fields`.

    Raises:
        Refused: unknown_format, ambiguous_format, or what is wrong with a turn or a tool.
    """
    reader = _reader_of(fields)
    system = fields.get("system")
    conversation = reader(fields, limits)
    if tools := fields.pop("tools", None):
        conversation.tools_json = read_tools(tools, limits)
    if system is not None and isinstance(system, str):
        del fields["system"]
        _lead_with(system, conversation.messages)
    return conversation


def _reader_of(fields: Fields) -> "Reader":
    found = [form for form in _FORMS if fields.get(form.keys[0]) is not None and form.fits(fields)]
    if len(found) == 1:
        return found[0].reader
    if found:
        told = ", ".join(" + ".join(form.keys) for form in found)
        raise Refused(RefusalCode.AMBIGUOUS_FORMAT, f"several conversations in one sample: {told}")
    if "chosen" in fields and "rejected" in fields:
        raise Refused(RefusalCode.UNKNOWN_FORMAT, "a preference pair holds two answers: send the one to train on, as messages")
    there = shown(", ".join(sorted(map(str, fields))))
    raise Refused(RefusalCode.UNKNOWN_FORMAT, f"no conversation found: expected {_FORMS_TOLD}; the keys are {there}")


def _lead_with(system: str, messages: list[Message]) -> None:
    """Put a system text given beside the turns before them; an empty one says nothing."""
    if not system:
        return
    if messages and messages[0].role in {"system", "developer"}:
        raise Refused(RefusalCode.AMBIGUOUS_FORMAT, "two system texts: one beside the turns and one among them")
    messages.insert(0, Message("system", system))


def _messages(fields: Fields, limits: IntakeLimits) -> Conversation:
    return _turns(_list_of(fields.pop("messages"), "messages"), limits)


def _turns(turns: Sequence[Any], limits: IntakeLimits) -> Conversation:
    if len(turns) > limits.turns_max:
        raise Refused(RefusalCode.TOO_MANY_TURNS, f"more than {limits.turns_max} turns (HEADRACE_GATEWAY_TURNS_MAX)")
    extras: Fields = {}
    messages = [read_turn(turn, index, limits, extras) for index, turn in enumerate(turns)]
    return Conversation(messages, extras={"message_fields": extras} if extras else {})


def _sharegpt(fields: Fields, limits: IntakeLimits) -> Conversation:
    turns = _list_of(fields.pop("conversations"), "conversations")
    return _turns([_sharegpt_turn(turn, limits) for turn in turns[: limits.turns_max + 1]], limits)


def _sharegpt_turn(turn: Any, limits: IntakeLimits) -> Any:
    if not isinstance(turn, dict) or "from" not in turn:
        return turn  # some publish turns with role and content under this key
    rest = dict(turn)
    name, value = rest.pop("from"), rest.pop("value", None)
    role = _SHAREGPT_ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise Refused(RefusalCode.UNKNOWN_ROLE, f"{shown(name)} in 'from'; known: {', '.join(_SHAREGPT_ROLES)}")
    if clash := rest.keys() & {"role", "content"}:
        raise Refused(RefusalCode.BAD_MESSAGE, f"a turn with 'from' has {shown(min(clash))} too")
    if name.lower() == "function_call":
        return rest | {"role": role, "content": "", "tool_calls": _sharegpt_calls(value, limits)}
    return rest | {"role": role, "content": value}


def _sharegpt_calls(value: Any, limits: IntakeLimits) -> list[Any]:
    """Calls are written as JSON text there: one object, or an array of them."""
    try:
        calls = parse_text(value, depth_max=limits.depth_max) if isinstance(value, str) else value
    except Refused as error:
        raise Refused(RefusalCode.BAD_TOOLS, f"function_call: {error.message}") from None
    return calls if isinstance(calls, list) else [calls]


def _alpaca(fields: Fields, limits: IntakeLimits) -> Conversation:
    instruction, output = _text_of(fields, "instruction"), _text_of(fields, "output")
    given = _text_of(fields, "input") if fields.get("input") is not None else ""
    fields.pop("input", None)
    messages: list[Message] = []
    history = fields.pop("history", None) or []
    for pair in _list_of(history, "history")[: limits.turns_max]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):  # noqa: PLR2004 - a pair
            raise Refused(RefusalCode.BAD_MESSAGE, f"history holds {shown(pair)}; it is a list of [question, answer] pairs")
        messages += [Message("user", pair[0]), Message("assistant", pair[1])]
    asked = f"{instruction}\n{given}" if given and instruction else instruction or given
    return Conversation([*messages, Message("user", asked), Message("assistant", output)])


def _prompt_completion(fields: Fields, limits: IntakeLimits) -> Conversation:
    prompt, completion = fields.pop("prompt"), fields.pop("completion")
    return _turns([*_side(prompt, "user", "prompt"), *_side(completion, "assistant", "completion")], limits)


def _side(value: Any, role: str, where: str) -> list[Any]:
    return [{"role": role, "content": value}] if isinstance(value, str) else _list_of(value, where)


def _log(fields: Fields, limits: IntakeLimits) -> Conversation:
    """One line of a log of chat completions: the exact request and response, of which the rest is kept."""
    request, response = dict(fields.pop("request")), dict(fields.pop("response"))
    choices = _list_of(response.pop("choices", None), "response.choices")
    if len(choices) != 1 or not isinstance(choices[0], dict):
        raise Refused(RefusalCode.AMBIGUOUS_FORMAT, f"response.choices holds {len(choices)} answers; send one")
    choice = dict(choices[0])
    turns = [*_list_of(request.pop("messages", None), "request.messages"), choice.pop("message", None)]
    conversation = _turns(turns, limits)
    if tools := request.pop("tools", None):
        conversation.tools_json = read_tools(tools, limits)
    conversation.extras |= {"request": request, "response": response | {"choices": [choice]}}
    return conversation


def _list_of(value: Any, where: str) -> list[Any]:
    return value if isinstance(value, list) else _not_a_list(value, where)


def _not_a_list(value: Any, where: str) -> NoReturn:
    raise Refused(RefusalCode.BAD_MESSAGE, f"{where} is a list of turns, not {shown(value if value is None else to_json(value))}")


def _text_of(fields: Fields, key: str) -> str:
    value = fields.pop(key)
    if not isinstance(value, str):
        raise Refused(RefusalCode.BAD_MESSAGE, f"{key} is a text, not {shown(to_json(value))}")
    return value


Reader = Callable[[Fields, IntakeLimits], Conversation]


def _both(first: str, second: str, kind: type | tuple[type, ...]) -> Callable[[Fields], bool]:
    return lambda fields: isinstance(fields.get(first), kind) and isinstance(fields.get(second), kind)


@dataclass(frozen=True, slots=True)
class _Form:
    keys: tuple[str, ...]
    fits: Callable[[Fields], bool]
    reader: Reader


_FORMS = (
    _Form(("messages",), lambda _: True, _messages),
    _Form(("conversations",), lambda _: True, _sharegpt),
    _Form(("instruction", "output"), lambda fields: fields.get("output") is not None, _alpaca),
    _Form(("prompt", "completion"), lambda fields: fields.get("completion") is not None, _prompt_completion),
    _Form(("request", "response"), _both("request", "response", dict), _log),
)
