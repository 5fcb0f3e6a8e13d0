"""One turn of a conversation, its tool calls, and the tools on offer, in OpenAI chat form."""

from dataclasses import dataclass
from typing import Any

from headrace.core.intake_json import parse_text, to_json
from headrace.core.refusals import RefusalCode, Refused, shown
from headrace.core.samples import ROLES, Message, ToolCall

KNOWN_ROLES = frozenset(ROLES)
_TURN_KEYS = frozenset({"role", "content", "tool_calls", "tool_call_id", "name"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
# A model would see these or be trained on them: a sample without them would be another sample.
_CONTENT_KEYS = frozenset({"reasoning_content", "reasoning", "thinking", "refusal", "function_call", "audio", "image", "images"})
_CALL_KEYS = frozenset({"id", "type", "function", "name", "arguments", "index"})


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What one sample may hold; a refusal names the setting, HEADRACE_GATEWAY_ and the name here in capitals.

    `line_bytes_max` bounds a sample as it is sent, `sample_bytes_max` its texts in UTF-8, attributes too (JSON escapes make the
    first up to three times the second). A Kafka record holds the sample and its dossier, so the latter stays well below the
    broker's largest message. `depth_max` counts nested objects and arrays; the parser recurses that deep.
    """

    line_bytes_max: int = 2 * 1024 * 1024
    sample_bytes_max: int = 512 * 1024
    turns_max: int = 1_000
    depth_max: int = 64
    metadata_bytes_max: int = 64 * 1024
    attributes_max: int = 64


def read_turn(turn: Any, index: int, limits: IntakeLimits, extras: dict[str, Any]) -> Message:
    """One turn from its JSON object; keys that have no place in a sample are added to `extras` under the turn's number."""
    if type(turn) is not dict:
        raise Refused(RefusalCode.BAD_MESSAGE, f"turn {index} is not an object")
    role, content = turn.get("role"), turn.get("content")
    if type(role) is not str or role not in KNOWN_ROLES:
        raise Refused(RefusalCode.UNKNOWN_ROLE, f"turn {index} has the role {shown(role)}; known: {', '.join(ROLES)}")
    if type(content) is str and len(turn) == 2:  # noqa: PLR2004 - role and content, as nearly all turns
        return Message(role, content)
    if rest := turn.keys() - _TURN_KEYS:
        _keep(turn, rest, index, extras)
    return Message(
        role,
        content if type(content) is str else _joined(content, index),
        _tool_calls(turn.get("tool_calls"), index, limits),
        _optional_text(turn, "tool_call_id", index),
        _optional_text(turn, "name", index),
    )


def read_tools(tools: Any, limits: IntakeLimits) -> str:
    """The tools on offer as compact JSON text; some datasets hold them as JSON text already."""
    if isinstance(tools, str):
        try:
            tools = parse_text(tools, depth_max=limits.depth_max)
        except Refused as error:
            raise Refused(RefusalCode.BAD_TOOLS, f"tools: {error.message}") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Refused(RefusalCode.BAD_TOOLS, "tools is a list of tool definitions, each an object")
    return to_json(tools) if tools else ""


def check_turns(messages: tuple[Message, ...], limits: IntakeLimits) -> None:
    """What holds for every conversation, whatever its form."""
    if not messages:
        raise Refused(RefusalCode.EMPTY_MESSAGES, "the conversation has no turns")
    if len(messages) > limits.turns_max:
        raise Refused(RefusalCode.TOO_MANY_TURNS, f"more than {limits.turns_max} turns (HEADRACE_GATEWAY_TURNS_MAX)")
    for index, message in enumerate(messages):
        _check_turn(message, index)
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    if not answers:
        raise Refused(RefusalCode.NO_ASSISTANT_TURN, "no turn is the assistant's: there is nothing to train on")
    if answers == [0]:
        raise Refused(RefusalCode.NO_PROMPT, "the assistant's only turn is the first: nothing was asked")


def _check_turn(message: Message, index: int) -> None:
    role, calls = message.role, message.tool_calls
    if role not in KNOWN_ROLES:
        raise Refused(RefusalCode.UNKNOWN_ROLE, f"turn {index} has the role {shown(role)}; known: {', '.join(ROLES)}")
    if not calls:
        if (role in {"user", "assistant"}) and (not message.content or message.content.isspace()):
            raise Refused(RefusalCode.EMPTY_CONTENT, f"turn {index} ({role}) says nothing")
        return
    if role != "assistant":
        raise Refused(RefusalCode.BAD_TOOLS, f"turn {index}: only the assistant calls tools, not {role}")
    if not all(call.name for call in calls):
        raise Refused(RefusalCode.BAD_TOOLS, f"turn {index} calls a tool without a name")


def _joined(content: Any, index: int) -> str:
    """Text parts follow each other as they are; null says nothing, as beside tool calls."""
    if content is None:
        return ""
    if not isinstance(content, list):
        raise Refused(RefusalCode.BAD_MESSAGE, f"turn {index}: content is a text, null or a list of parts")
    return "".join([_text_of_part(part, index) for part in content])


def _text_of_part(part: Any, index: int) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise Refused(RefusalCode.BAD_MESSAGE, f"turn {index}: a part of its content has no type")
    if kind not in _TEXT_PARTS:
        raise Refused(RefusalCode.UNSUPPORTED_CONTENT, f"turn {index} has a part of type {shown(kind)}; only text can be held")
    text = part.get("text")
    if not isinstance(text, str):
        raise Refused(RefusalCode.BAD_MESSAGE, f"turn {index}: a text part without its text")
    return text


def _keep(turn: dict[str, Any], rest: set[str], index: int, extras: dict[str, Any]) -> None:
    if lost := sorted(key for key in rest & _CONTENT_KEYS if turn[key]):
        told = f"turn {index} has {', '.join(lost)}, for which a sample has no place: put it into content, or leave it out"
        raise Refused(RefusalCode.UNSUPPORTED_CONTENT, told)
    if kept := {key: turn[key] for key in sorted(rest) if turn[key] is not None}:
        extras[str(index)] = kept


def _tool_calls(calls: Any, index: int, limits: IntakeLimits) -> tuple[ToolCall, ...]:
    if calls is None:
        return ()
    if not isinstance(calls, list):
        raise Refused(RefusalCode.BAD_TOOLS, f"turn {index}: tool_calls is a list")
    if len(calls) > limits.turns_max:
        told = f"turn {index}: {len(calls)} tool calls, the limit is {limits.turns_max} (HEADRACE_GATEWAY_TURNS_MAX)"
        raise Refused(RefusalCode.TOO_LARGE, told)
    return tuple([_tool_call(call, index) for call in calls])


def _tool_call(call: Any, index: int) -> ToolCall:
    """OpenAI's nested form, or the flat one of id, name and arguments; arguments as the model's text, or as an object."""
    if not isinstance(call, dict):
        raise Refused(RefusalCode.BAD_TOOLS, f"turn {index}: a tool call is an object")
    if call.get("type") not in {"function", None}:
        raise Refused(RefusalCode.UNSUPPORTED_CONTENT, f"turn {index}: a tool call of type {shown(call['type'])}")
    inner = call.get("function", call)
    if not isinstance(inner, dict) or (unknown := (call.keys() | inner.keys()) - _CALL_KEYS):
        told = f"unknown key {shown(min(unknown))}" if isinstance(inner, dict) else "function is an object"
        raise Refused(RefusalCode.BAD_TOOLS, f"turn {index}: in a tool call, {told}")
    arguments = inner.get("arguments")
    if arguments is None:
        arguments = ""
    call_id, name = call.get("id"), inner.get("name")
    if not isinstance(name, str) or not isinstance(call_id, str | None):
        raise Refused(RefusalCode.BAD_TOOLS, f"turn {index}: a tool call's name and id are texts")
    return ToolCall(call_id or "", name, arguments if isinstance(arguments, str) else to_json(arguments))


def _optional_text(turn: dict[str, Any], key: str, index: int) -> str:
    value = turn.get(key)
    if not isinstance(value, str | None):
        raise Refused(RefusalCode.BAD_MESSAGE, f"turn {index}: {key} is a text")
    return value or ""
