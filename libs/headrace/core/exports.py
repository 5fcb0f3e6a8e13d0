"""Rows of a version in the forms that other tools train on. Pure.

A form that cannot hold all a row says does not get the row: it is left out, for a reason that has a name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headrace.core.intake_json import parse_text
from headrace.core.refusals import Refused

Fields = dict[str, Any]
Row = Mapping[str, Any]
"""A row by its columns' names, see `headrace.adapters.versions.sample_rows`."""


class ExportFormat(StrEnum):
    """In which form rows are exported."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    MESSAGES = "messages"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    PREFERENCE = "preference"


class Left(StrEnum):
    """Why a row (of preferences: a pair) is left out. Codes are never renamed or reused."""

    TOOLS = "tools"
    TOOL_CALLS = "tool_calls"
    SYSTEM_PROMPT = "system_prompt"
    DEVELOPER_TURN = "developer_turn"
    SEVERAL_TURNS = "several_turns"
    NOT_ANSWERED = "not_answered"
    SPEAKER_NAME = "speaker_name"
    TURN_ORDER = "turn_order"
    TEXT_BESIDE_CALLS = "text_beside_calls"
    ARGUMENTS_NOT_JSON = "arguments_not_json"
    REPLY_ID = "reply_id"
    SAME_ANSWER = "same_answer"
    NUMBER = "number"


LEFT_MEANING: dict[Left, str] = {
    Left.TOOLS: "offers tools, for which the form has no place",
    Left.TOOL_CALLS: "calls tools, for which the form has no place",
    Left.SYSTEM_PROMPT: "has a system prompt, for which the form has no place",
    Left.DEVELOPER_TURN: "has a developer turn, which the form does not know",
    Left.SEVERAL_TURNS: "has several turns; the form holds one question and one answer",
    Left.NOT_ANSWERED: "does not end with the assistant's answer",
    Left.SPEAKER_NAME: "names a speaker, for which the form has no place",
    Left.TURN_ORDER: "its turns do not alternate between question and answer, as the form asks",
    Left.TEXT_BESIDE_CALLS: "a turn has text beside its tool calls; the form holds one or the other",
    Left.ARGUMENTS_NOT_JSON: "a tool call's arguments are no JSON object",
    Left.REPLY_ID: "a tool's reply names another call than the one before it, and the form has no place for the id",
    Left.SAME_ANSWER: "both answers of the pair are the same",
    Left.NUMBER: "holds a number that JSON has no way to write (NaN or infinite)",
}


class PairRule(StrEnum):
    """Why one of two answers to the same prompt counts as the better one. Where several rules hold, the first is told."""

    REVISION = "revision"
    REFINED = "refined"
    CHECK_FAILED = "check_failed"


PAIR_MEANING: dict[PairRule, str] = {
    PairRule.REVISION: "the chosen answer is a later, accepted revision of the rejected one",
    PairRule.REFINED: "the chosen answer was refined from the other one and accepted",
    PairRule.CHECK_FAILED: "the chosen answer was accepted; on the other one a check of the answer failed",
}

NOT_OF_ANSWERS = "duplicate_prompt"
"""The one check that says nothing of the answer: it counts how often the prompt is there."""


def to_messages(row: Row) -> Fields:
    """The OpenAI chat form: every row fits. `tools` is JSON text, since tools of different rows have different shapes."""
    return {"messages": [_present(message) for message in row["messages"]], "tools": row["tools_json"] or None}


def to_alpaca(row: Row) -> Fields | Left:
    """One question as `instruction`, one answer as `output`; `input` is empty: a sample does not say which part it would be."""
    messages = row["messages"]
    roles = [message["role"] for message in messages]
    if row["tools_json"]:
        return Left.TOOLS
    if "tool" in roles or any(message["tool_calls"] for message in messages):
        return Left.TOOL_CALLS
    if "system" in roles or "developer" in roles:
        return Left.SYSTEM_PROMPT
    if roles[-1:] != ["assistant"]:
        return Left.NOT_ANSWERED
    if roles != ["user", "assistant"]:
        return Left.SEVERAL_TURNS
    if any(message["name"] for message in messages):
        return Left.SPEAKER_NAME
    return {"instruction": messages[0]["content"], "input": "", "output": messages[1]["content"]}


def to_sharegpt(row: Row) -> Fields | Left:
    """`conversations` of `from` and `value`, as LLaMA-Factory reads them.

    A system turn may come first; then questions (human, observation) and answers (gpt, function_call) alternate. A call's id is
    not written: where every reply follows the call that it answers, the order says the same.
    """
    turns: list[Fields] = []
    call: Fields | None = None
    for index, message in enumerate(row["messages"]):
        turn = _sharegpt_turn(message, index, call)
        if isinstance(turn, Left):
            return turn
        calls = message["tool_calls"] or []
        call = calls[0] if len(calls) == 1 else None
        turns.append(turn)
    spoken = [turn["from"] for turn in turns if turn["from"] != "system"]
    if any((name in _ANSWERS) != bool(index % 2) for index, name in enumerate(spoken)):
        return Left.TURN_ORDER
    if len(spoken) % 2 or not spoken:
        return Left.NOT_ANSWERED
    return {"conversations": turns, "tools": row["tools_json"] or None}


@dataclass(frozen=True, slots=True)
class Answer:
    """One side of a preference pair."""

    sample_id: str
    revision: int
    messages: Sequence[Fields]


def to_preference(chosen: Answer, rejected: Answer, tools_json: str | None, found_by: PairRule) -> Fields | Left:
    """TRL's conversational preference form with an explicit prompt. Both answer the same prompt: their hashes are equal."""
    if any(answer.messages[-1]["role"] != "assistant" for answer in (chosen, rejected)):
        return Left.NOT_ANSWERED
    better, worse = (_present(answer.messages[-1]) for answer in (chosen, rejected))
    if better == worse:
        return Left.SAME_ANSWER
    return {
        "prompt": [_present(message) for message in chosen.messages[:-1]],
        "chosen": [better],
        "rejected": [worse],
        "tools": tools_json or None,
        "chosen_id": chosen.sample_id,
        "chosen_revision": chosen.revision,
        "rejected_id": rejected.sample_id,
        "rejected_revision": rejected.revision,
        "found_by": found_by.value,
    }


_ARGUMENTS_DEPTH_MAX = 64
_ANSWERS = frozenset({"gpt", "function_call"})
_SHAREGPT_NAMES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def _sharegpt_turn(message: Fields, index: int, call: Fields | None) -> Fields | Left:
    """`call` is the one call in the turn before, None where there is none or several."""
    role = message["role"]
    if role == "developer":
        return Left.DEVELOPER_TURN
    if role == "system" and index:
        return Left.TURN_ORDER
    if role == "tool" and call is None:
        return Left.TURN_ORDER
    if call is not None and message["tool_call_id"] not in {None, call["id"]}:
        return Left.REPLY_ID
    if message["name"] and not (call is not None and role == "tool" and message["name"] == call["function"]["name"]):
        return Left.SPEAKER_NAME
    if message["tool_calls"]:
        return _function_call(message) if role == "assistant" else Left.TURN_ORDER
    return {"from": _SHAREGPT_NAMES[role], "value": message["content"]}


def _function_call(message: Fields) -> Fields | Left:
    if message["content"]:
        return Left.TEXT_BESIDE_CALLS
    calls = []
    for call in message["tool_calls"]:
        try:
            arguments = parse_text(call["function"]["arguments"], depth_max=_ARGUMENTS_DEPTH_MAX)
        except Refused:
            return Left.ARGUMENTS_NOT_JSON
        if not isinstance(arguments, dict):
            return Left.ARGUMENTS_NOT_JSON
        calls.append({"name": call["function"]["name"], "arguments": arguments})
    return {"from": "function_call", "value": json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)}


def _present(message: Fields) -> Fields:
    """Without the keys that say nothing: templates ask whether a key is there."""
    return {key: value for key, value in message.items() if value is not None}
