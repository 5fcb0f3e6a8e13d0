"""The forms in which a conversation may arrive."""

import json

import pytest

from headrace.core.intake import IntakeLimits, Refused, parse_line
from headrace.core.samples import Message, ToolCall

LIMITS = IntakeLimits()
ASKED, ANSWERED = Message("user", "2+2?"), Message("assistant", "4")


def parse(**fields):
    return parse_line(json.dumps(fields).encode(), "demo", LIMITS, "http")


def refusal(**fields):
    with pytest.raises(Refused) as caught:
        parse(**fields)
    return caught.value


def test_tool_calls_in_openai_form():
    """Nested calls, null content beside them, the tool's reply by its call id."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":2}'}}
    sample = parse(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "4"},
            {"role": "assistant", "content": "4", "tool_calls": None, "refusal": None, "annotations": None},
        ]
    )
    called = Message("assistant", "", (ToolCall("c1", "add", '{"a":2}'),))
    assert sample.messages == (ASKED, called, Message("tool", "4", (), "c1", "add"), ANSWERED)
    assert sample.metadata_json == ""


def test_tool_call_arguments_may_be_an_object():
    """Hub datasets hold them parsed; the flat form is accepted too."""
    calls = [
        {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}},
        {"id": "2", "name": "now", "arguments": None},
    ]
    sample = parse(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": calls}])
    assert sample.messages[1].tool_calls == (ToolCall("", "add", '{"a":2}'), ToolCall("2", "now", ""))


def test_a_turns_other_keys_are_kept_as_metadata():
    """Logs annotate their turns; nothing of it is lost, and none of it changes the content."""
    sample = parse(messages=[{"role": "user", "content": "2+2?", "country": "NL"}, {"role": "assistant", "content": "4"}])
    assert sample.messages == (ASKED, ANSWERED)
    assert json.loads(sample.metadata_json) == {"message_fields": {"0": {"country": "NL"}}}


def test_a_system_text_beside_the_turns_leads_them():
    """Whatever the form, it is what the model would see first; an empty one says nothing."""
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    assert parse(messages=turns, system="Be brief.").messages == (Message("system", "Be brief."), ASKED, ANSWERED)
    assert parse(messages=turns, system="").messages == (ASKED, ANSWERED)
    assert refusal(messages=[{"role": "system", "content": "x"}, *turns], system="y").code == "ambiguous_format"


def test_alpaca():
    """Instruction and input are one question; the history comes before it."""
    assert parse(instruction="2+2?", output="4").messages == (ASKED, ANSWERED)
    assert parse(instruction="2+2?", input="", output="4").messages == (ASKED, ANSWERED)
    sample = parse(instruction="Add.", input="2+2", output="4", system="Be brief.", history=[["1+1?", "2"]])
    assert [message.content for message in sample.messages] == ["Be brief.", "1+1?", "2", "Add.\n2+2", "4"]
    assert [message.role for message in sample.messages] == ["system", "user", "assistant", "user", "assistant"]


def test_alpaca_that_is_not():
    """Texts are texts, and a history is pairs."""
    assert refusal(instruction=["x"], output="4").code == "bad_message"
    assert refusal(instruction="x", output="4", history=[["q"]]).code == "bad_message"
    assert refusal(instruction="x", output="4", history={"q": "a"}).code == "bad_message"
    assert refusal(instruction="x", output="4", history=[["q", "a"]] * 1_000).code == "too_many_turns"
    assert refusal(instruction="x", output=None).code == "unknown_format"


@pytest.mark.parametrize("names", [("human", "gpt"), ("user", "assistant"), ("Human", "ChatGPT")])
def test_sharegpt(names):
    """Who speaks goes by several names."""
    turns = [{"from": names[0], "value": "2+2?"}, {"from": names[1], "value": "4"}]
    assert parse(conversations=turns).messages == (ASKED, ANSWERED)


def test_sharegpt_with_tools():
    """Calls are JSON text there, the tools on offer too, and observations are the tools' replies."""
    sample = parse(
        conversations=[
            {"from": "system", "value": "s"},
            {"from": "human", "value": "2+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
            {"from": "observation", "value": "4"},
            {"from": "gpt", "value": "4", "weight": 1},
        ],
        tools='[{"name": "add"}]',
    )
    assert sample.messages[2] == Message("assistant", "", (ToolCall("", "add", '{"a":2}'),))
    assert sample.messages[3] == Message("tool", "4")
    assert sample.tools_json == '[{"name":"add"}]'
    assert json.loads(sample.metadata_json) == {"message_fields": {"4": {"weight": 1}}}


def test_sharegpt_that_is_not():
    """Unknown speakers, calls that are not JSON, and turns in two forms at once."""
    answer = {"from": "gpt", "value": "4"}
    assert refusal(conversations=[{"from": "narrator", "value": "x"}, answer]).code == "unknown_role"
    assert refusal(conversations=[{"from": 3, "value": "x"}, answer]).code == "unknown_role"
    assert refusal(conversations=[{"from": "human", "value": None}, answer]).code == "empty_content"
    assert refusal(conversations=[{"from": "human", "value": "x", "role": "user"}, answer]).code == "bad_message"
    assert (
        refusal(conversations=[{"from": "human", "value": "x"}, {"from": "function_call", "value": "add(2)"}]).code == "bad_tools"
    )
    assert refusal(conversations="x").code == "bad_message"
    assert refusal(conversations=[answer] * 2_000).code == "too_many_turns"


def test_sharegpt_turns_in_openai_form():
    """Some publish role and content under the same key."""
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    assert parse(conversations=turns).messages == (ASKED, ANSWERED)


def test_prompt_and_completion():
    """Texts, or lists of turns, or one of each."""
    assert parse(prompt="2+2?", completion="4").messages == (ASKED, ANSWERED)
    turns = [{"role": "user", "content": "2+2?"}], [{"role": "assistant", "content": "4"}]
    assert parse(prompt=turns[0], completion=turns[1]).messages == (ASKED, ANSWERED)
    assert parse(prompt=turns[0], completion="4").messages == (ASKED, ANSWERED)
    assert refusal(prompt=3, completion="4").code == "bad_message"


def test_a_log_of_chat_completions():
    """The exact request and response; what is not conversation stays in the metadata."""
    sample = parse(
        timestamp=1,
        workload_id="w",
        request={"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "tools": [{"name": "add"}]},
        response={
            "id": "r",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}],
        },
    )
    assert sample.messages == (ASKED, ANSWERED)
    assert sample.tools_json == '[{"name":"add"}]'
    assert json.loads(sample.metadata_json) == {
        "timestamp": 1,
        "workload_id": "w",
        "request": {"model": "m"},
        "response": {"id": "r", "choices": [{"index": 0, "finish_reason": "stop"}]},
    }


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"choices": []}, "ambiguous_format"),
        ({}, "bad_message"),
        ({"choices": [{}]}, "bad_message"),
        ({"choices": [1]}, "ambiguous_format"),
    ],
)
def test_a_log_without_one_answer(response, code):
    """Several answers to one request are several samples."""
    assert refusal(request={"messages": [{"role": "user", "content": "?"}]}, response=response).code == code


def test_keys_that_only_resemble_a_form_are_metadata():
    """A dataset may keep its prompt, or a request as text, beside its messages."""
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    sample = parse(messages=turns, prompt="2+2?", request="x", response="y", instruction="z")
    assert json.loads(sample.metadata_json) == {"prompt": "2+2?", "request": "x", "response": "y", "instruction": "z"}


def test_two_forms_at_once_are_refused():
    """The door does not guess which conversation is meant."""
    refused = refusal(prompt="a", completion="b", instruction="c", output="d")
    assert refused.code == "ambiguous_format"
    assert "instruction + output, prompt + completion" in refused.message


def test_no_form_at_all_is_told_what_to_send():
    """The refusal lists the forms and the keys it saw, and knows preference pairs."""
    refused = refusal(text="once upon a time")
    assert refused.code == "unknown_format"
    assert "messages, conversations" in refused.message
    assert "text" in refused.message
    assert "two answers" in refusal(prompt="a", chosen="b", rejected="c").message
    assert refusal().code == "unknown_format"
    assert refusal(messages=None).code == "unknown_format"
