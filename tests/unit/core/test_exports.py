"""Conversations in the forms of other tools: what fits comes back as it was, what does not is left out by name."""

import json

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.exports import LEFT_MEANING, PAIR_MEANING, Left, PairRule, to_alpaca, to_messages, to_sharegpt
from headrace.core.intake_formats import read_conversation
from headrace.core.intake_turns import IntakeLimits
from headrace.core.samples import ROLES, Message, ToolCall

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARGUMENTS = st.sampled_from(['{"a": 6}', "{}", '{"a": 1, "a": 2}', "a=6", "[1]", "", '{"a": NaN}'])
CALLS = st.lists(st.builds(ToolCall, st.sampled_from(["", "c1", "c2"]), st.sampled_from(["add", "sub"]), ARGUMENTS), max_size=2)
TURN = st.builds(
    Message,
    st.sampled_from(ROLES),
    TEXT,
    CALLS.map(tuple),
    st.sampled_from(["", "c1", "c2"]),
    st.sampled_from(["", "add", "Ann"]),
)


def row(*messages, tools_json=None):
    """A row as it lies in a version."""
    turns = [
        {
            "role": message.role,
            "content": message.content,
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
            or None,
            "tool_call_id": message.tool_call_id or None,
            "name": message.name or None,
        }
        for message in messages
    ]
    return {"messages": turns, "tools_json": tools_json}


def meaning(messages):
    """What a conversation says, with arguments as values and without the ids that its order repeats."""
    return [
        (
            message.role,
            message.content,
            [(call.name, json.loads(call.arguments)) for call in message.tool_calls],
        )
        for message in messages
    ]


ASKED, ANSWER = Message("user", "two and two?"), Message("assistant", "four")
CALL = Message("assistant", "", (ToolCall("c1", "add", '{"a": 2}'),))
REPLY = Message("tool", "4", tool_call_id="c1", name="add")


@given(st.lists(TURN, max_size=6), st.sampled_from([None, '[{"type": "function"}]']))
def test_what_is_exported_is_what_comes_back(messages, tools_json):
    """Our own intake reads every form to the same conversation; no row is changed on the way."""
    for convert in (to_messages, to_alpaca, to_sharegpt):
        fields = convert(row(*messages, tools_json=tools_json))
        if isinstance(fields, Left):
            continue
        read = read_conversation({key: value for key, value in fields.items() if value is not None}, IntakeLimits())
        if convert is to_messages:
            assert read.messages == messages
        else:
            assert meaning(read.messages) == meaning(messages)
        assert read.tools_json == (tools_json or "").replace(": ", ":")


def test_alpaca_holds_one_question_and_one_answer():
    """Everything else has a reason of its own."""
    assert to_alpaca(row(ASKED, ANSWER)) == {"instruction": "two and two?", "input": "", "output": "four"}
    assert to_alpaca(row(ASKED, ANSWER, tools_json="[{}]")) is Left.TOOLS
    assert to_alpaca(row(ASKED, CALL, REPLY, ANSWER)) is Left.TOOL_CALLS
    assert to_alpaca(row(Message("system", "x"), ASKED, ANSWER)) is Left.SYSTEM_PROMPT
    assert to_alpaca(row(ASKED, ANSWER, ASKED, ANSWER)) is Left.SEVERAL_TURNS
    assert to_alpaca(row(ASKED, ANSWER, ASKED)) is Left.NOT_ANSWERED
    assert to_alpaca(row(Message("user", "x", name="Ann"), ANSWER)) is Left.SPEAKER_NAME


def test_sharegpt_holds_calls_that_are_answered_in_turn():
    """Calls are JSON text; ids that the order repeats are dropped, others leave the row out."""
    fields = to_sharegpt(row(Message("system", "Be brief."), ASKED, CALL, REPLY, ANSWER, tools_json="[{}]"))
    assert not isinstance(fields, Left)
    assert [turn["from"] for turn in fields["conversations"]] == ["system", "human", "function_call", "observation", "gpt"]
    assert json.loads(fields["conversations"][2]["value"]) == {"name": "add", "arguments": {"a": 2}}
    assert fields["tools"] == "[{}]"
    loose = Message("assistant", "", (ToolCall("c1", "add", "a=2"),))
    twice = Message("assistant", "", (*CALL.tool_calls, ToolCall("c2", "add", "{}")))
    for turns, left in (
        ((Message("developer", "x"), ASKED, ANSWER), Left.DEVELOPER_TURN),
        ((ASKED, Message("system", "x"), ANSWER), Left.TURN_ORDER),
        ((ASKED, ASKED, ANSWER), Left.TURN_ORDER),
        ((ASKED, twice, REPLY, REPLY, ANSWER), Left.TURN_ORDER),
        ((ASKED, ANSWER, ASKED), Left.NOT_ANSWERED),
        ((ASKED, CALL, Message("tool", "4", tool_call_id="c9"), ANSWER), Left.REPLY_ID),
        ((ASKED, loose), Left.ARGUMENTS_NOT_JSON),
        ((ASKED, Message("assistant", "I add", CALL.tool_calls)), Left.TEXT_BESIDE_CALLS),
        ((ASKED, Message("assistant", "x", name="Ann")), Left.SPEAKER_NAME),
    ):
        assert to_sharegpt(row(*turns)) is left


def test_every_code_is_told_in_words():
    """In the card and on the screen."""
    assert LEFT_MEANING.keys() == set(Left)
    assert PAIR_MEANING.keys() == set(PairRule)
