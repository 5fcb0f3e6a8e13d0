"""Which tokens are prompt, and which are response."""

import json
from copy import deepcopy

import pytest
from transformers import PreTrainedTokenizerFast

from headrace.lm.conversations import ConversationReader, Rendered, Unreadable

TURNS = [
    {"role": "user", "content": "two and two?"},
    {"role": "assistant", "content": "the answer is four"},
    {"role": "user", "content": "and three?"},
    {"role": "assistant", "content": "seven"},
]
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


def test_the_response_is_the_last_assistant_turn_with_its_end(reader: ConversationReader) -> None:
    """Earlier answers are prompt; the end-of-turn token counts, the line break behind it does not."""
    rendered = reader.render({"messages": TURNS})
    assert rendered.response == "seven<|im_end|>"
    assert rendered.prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\ntwo and two?")
    assert rendered.prompt.endswith("and three?<|im_end|>\n<|im_start|>assistant\n")


def test_a_system_turn_takes_the_place_of_the_models_own(reader: ConversationReader) -> None:
    """So does a developer turn, for a template that knows no such role."""
    for role in ("system", "developer"):
        rendered = reader.render({"messages": [{"role": role, "content": "Be long."}, *TURNS]})
        assert rendered.prompt.startswith("<|im_start|>system\nBe long.<|im_end|>\n<|im_start|>user")


def test_turns_behind_the_last_answer_are_not_read(reader: ConversationReader) -> None:
    """What was said afterwards neither asks nor answers."""
    assert reader.render({"messages": [*TURNS, {"role": "user", "content": "thanks"}]}) == reader.render({"messages": TURNS})


def test_prompt_tokens_do_not_depend_on_the_response(reader: ConversationReader) -> None:
    """Not even where a longer token could span the border."""
    others = [deepcopy(TURNS) for _ in range(3)]
    for turns, text in zip(others, ("\n\nfour", "", " the"), strict=True):
        turns[-1]["content"] = text
    read = reader.tokens([reader.render({"messages": turns}) for turns in (TURNS, *others)])
    assert len({tuple(tokens.prompt) for tokens in read}) == 1


def test_an_empty_response_is_its_end_of_turn_token(reader: ConversationReader, tokenizer: PreTrainedTokenizerFast) -> None:
    """What is left to learn from it is to stop at once."""
    (tokens,) = reader.tokens([reader.render({"messages": [TURNS[0], {"role": "assistant", "content": ""}]})])
    assert tokens.response == [tokenizer.eos_token_id]


def test_any_text_survives_tokenising(reader: ConversationReader, tokenizer: PreTrainedTokenizerFast) -> None:
    """Right-to-left marks, emoji, zero bytes, spaces at the end: the response's tokens are its text."""
    text = "\u202e\u0645\u0631 \U0001f9ee\x00 ½  \n\n "
    (tokens,) = reader.tokens([reader.render({"messages": [TURNS[0], {"role": "assistant", "content": text}]})])
    assert tokenizer.decode(tokens.response, clean_up_tokenization_spaces=False) == text + "<|im_end|>"


def test_a_template_without_tools_gets_them_as_text(reader: ConversationReader) -> None:
    """Calls are part of the response, definitions part of the prompt."""
    rendered = reader.render(
        {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": TOOLS}
    )
    assert json.dumps(TOOLS) in rendered.prompt
    assert rendered.response == '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|im_end|>'


def test_a_template_with_tools_gets_them_as_objects(tokenizer: PreTrainedTokenizerFast) -> None:
    """Arguments that are JSON arrive parsed; others stay the model's own text."""
    knowing = deepcopy(tokenizer)
    knowing.chat_template = (
        "{{ tools | tojson }}{% for message in messages %}[{{ message.role }}]{{ message.content }}"
        "{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    odd = {**CALL, "function": {"name": "add", "arguments": "a=2"}}
    turns = [TURNS[0], {"role": "assistant", "content": "", "tool_calls": [CALL, odd]}]
    rendered = ConversationReader(knowing).render({"messages": turns, "tools": TOOLS})
    assert rendered.prompt.startswith(json.dumps(TOOLS))
    assert rendered.response == '{"name": "add", "arguments": {"a": 2}}{"name": "add", "arguments": "a=2"}<|im_end|>'


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (None, "not a conversation"),
        ([], "not a conversation"),
        ({"messages": "hello"}, "not a conversation"),
        ({"messages": [{"role": "assistant", "content": ["image"]}]}, "not a conversation"),
        ({"messages": [{"content": "x"}]}, "not a conversation"),
        ({"messages": []}, "no assistant turn"),
        ({"messages": TURNS[:1]}, "no assistant turn"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": "\ud800"}]}, "surrogates"),
        ({"messages": TURNS[1:2]}, "no turn before the answer"),
    ],
)
def test_what_cannot_be_read_says_why(reader: ConversationReader, conversation: object, reason: str) -> None:
    """Every reason is a sentence."""
    with pytest.raises(Unreadable, match=reason):
        reader.render(conversation)  # type: ignore[arg-type]  # on purpose


def test_a_template_that_refuses_a_conversation_is_quoted(tokenizer: PreTrainedTokenizerFast) -> None:
    """Some templates demand that turns alternate."""
    strict = deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Unreadable, match="roles must alternate"):
        ConversationReader(strict).render({"messages": TURNS})


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """Where the prompt ends could only be guessed."""
    fickle = deepcopy(tokenizer)
    fickle.chat_template = "{{ messages | length }}{{ messages[-1].content }}{% if add_generation_prompt %}[assistant]{% endif %}"
    with pytest.raises(Unreadable, match="renders the prompt differently"):
        ConversationReader(fickle).render({"messages": TURNS})


def test_many_are_tokenised_at_once(reader: ConversationReader) -> None:
    """In order, and none is no trouble."""
    rendered = [Rendered("the", "answer"), Rendered("is", "two")]
    assert reader.tokens(rendered) == [reader.tokens([one])[0] for one in rendered]
    assert reader.tokens([]) == []
