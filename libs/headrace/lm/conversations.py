"""Conversations as the model reads them, and which tokens count as the response: one definition, for signals and training.

The *response* is the last assistant turn: its tokens up to and including the end-of-turn token, because a model that is
trained on the turn has to learn to stop too. The *prompt* is everything before it, rendered by the model's own chat template,
the header that opens the assistant turn included. Turns after the last assistant turn are not read.

Prompt and response are tokenised apart, as they are when the model itself answers: no token spans the border, and the
prompt's tokens do not depend on the response.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase


class Unreadable(ValueError):
    """The model cannot be given this conversation; the message says why."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text, split at the border between prompt and response."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """A conversation as token ids: prompt, then response."""

    prompt: list[int]
    response: list[int]


class ConversationReader:
    """Renders and tokenises conversations in OpenAI chat form for one model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        template = tokenizer.chat_template
        if not isinstance(template, str):
            raise Unreadable("the model's tokenizer has no chat template, or several: name one in its tokenizer_config.json")
        self._tokenizer = tokenizer
        self._knows_tools = "tools" in template
        self._knows_tool_calls = "tool_calls" in template
        self._knows_developer = "developer" in template
        self._markers = tuple(
            {str(token) for token in tokenizer.added_tokens_decoder.values()} | set(tokenizer.all_special_tokens)
        )
        self._marker_ids = _marker_ids(tokenizer, template)
        letters = sorted(map(re.escape, tokenizer.convert_ids_to_tokens(sorted(self._marker_ids))))
        self._marker = re.compile(f"(?=(?:{'|'.join(letters)}))" if letters else "(?!)")

    def render(self, conversation: Mapping[str, Any]) -> Rendered:
        """The texts of prompt and response of `{"messages": [...], "tools": [...]}`.

        A template that knows no tools gets them as text: definitions in the system turn, calls behind the turn's content.

        Raises:
            Unreadable: there is no assistant turn, a field is missing or no text, or the template refuses the conversation.
        """
        turns, tools = _to_the_answer(conversation)
        turns = self._adapted(turns, tools)
        prompt = self._template(turns[:-1], tools, opens_answer=True)
        whole = self._template(turns, tools, opens_answer=False)
        if not whole.startswith(prompt):
            raise Unreadable("the chat template renders the prompt differently once the answer is there")
        return Rendered(prompt, self._to_end_of_turn(whole[len(prompt) :]))

    def plain(self, conversation: Mapping[str, Any]) -> Rendered:
        """Prompt and response as plain text without the template, to be quoted in another conversation.

        A prompt of one user turn is that turn's content; of several, each begins with its role.

        Raises:
            Unreadable: as `render` does, but for the template.
        """
        turns, tools = _to_the_answer(conversation)
        turns = [_with_calls_as_text(turn) for turn in turns]
        prompt = "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns[:-1])
        if tools:
            prompt = f"Tools: {json.dumps(tools, ensure_ascii=False)}\n\n{prompt}"
        elif [turn["role"] for turn in turns[:-1]] == ["user"]:
            prompt = turns[0]["content"]
        rendered = Rendered(prompt, turns[-1]["content"])
        try:
            (rendered.prompt + rendered.response).encode()
        except UnicodeEncodeError as error:
            raise Unreadable(f"no text: {error}") from error
        return rendered

    def around(self, marker: str) -> tuple[str, str]:
        """What the template writes before and behind the content of a user turn that the model is to answer.

        Raises:
            Unreadable: the template does not show the turn as it is.
        """
        before, found, behind = self._template([{"role": "user", "content": marker}], None, opens_answer=True).partition(marker)
        if not found or marker in behind:
            raise Unreadable("the chat template does not show a user's turn once and as it is")
        return before, behind

    def ids(self, text: str) -> list[int]:
        """The token ids of a text of our own; markers in it count."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """What these tokens say, without markers."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def quoted_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts of others: the letters of a marker in them are letters, so that they can end no turn."""
        pieces = [self._cut_in_markers(text) for text in texts]
        flat = [piece for some in pieces for piece in some]
        ids = iter(self._tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
        return [[number for _ in some for number in next(ids)] for some in pieces]

    def has_marker(self, ids: Sequence[int]) -> bool:
        """Whether one of the template's markers is among these tokens."""
        return not self._marker_ids.isdisjoint(ids)

    def _cut_in_markers(self, text: str) -> list[str]:
        """The text in pieces, cut behind the first letter of each marker: no piece holds a whole one."""
        cuts = [match.start() + 1 for match in self._marker.finditer(text)]
        return [text[begin:end] for begin, end in pairwise((0, *cuts, len(text)))]

    def tokens(self, rendered: Sequence[Rendered]) -> list[Tokens]:
        """The token ids of many conversations at once; special tokens come from the template alone."""
        texts = [text for one in rendered for text in (one.prompt, one.response)]
        ids = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return [Tokens(ids[index], ids[index + 1]) for index in range(0, len(ids), 2)]

    def plain_prompt(self, conversation: Mapping[str, Any]) -> list[int]:
        """The token ids of the prompt as plain text, without the template, with what the tokenizer puts around any text (a BOS).

        None where there is no text.

        Raises:
            Unreadable: as `plain` does.
        """
        text = self.plain(conversation).prompt
        ids: list[int] = self._tokenizer(text)["input_ids"] if text else []
        return ids

    def _adapted(self, turns: list[dict[str, Any]], tools: object) -> list[dict[str, Any]]:
        if not self._knows_developer:
            turns = [turn | {"role": "system"} if turn["role"] == "developer" else turn for turn in turns]
        if not self._knows_tool_calls:
            turns = [_with_calls_as_text(turn) for turn in turns]
        if tools and not self._knows_tools:
            stated = "You may call these functions:\n" + json.dumps(tools, ensure_ascii=False)
            if turns[0]["role"] == "system":
                return [turns[0] | {"content": f"{turns[0]['content']}\n\n{stated}"}, *turns[1:]]
            return [{"role": "system", "content": stated}, *turns]
        return turns

    def _template(self, turns: list[dict[str, Any]], tools: object, *, opens_answer: bool) -> str:
        try:
            text = self._tokenizer.apply_chat_template(turns, tools=tools, add_generation_prompt=opens_answer, tokenize=False)
            text.encode()  # lone surrogates cannot be tokenised, and would fail the whole batch there
        except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            raise Unreadable(f"the chat template refuses the conversation: {error}") from error
        return str(text)

    def _to_end_of_turn(self, text: str) -> str:
        """Cuts what a template writes behind the end-of-turn token, mostly a line break that no model is asked to say."""
        stripped = text.rstrip()
        return stripped if stripped.endswith(self._markers) else text


def conversations_in(path: Path) -> Iterator[dict[str, Any]]:
    """The conversations of a file, one JSON object a line."""
    with path.open(encoding="utf-8", errors="surrogatepass") as lines:
        for line in lines:
            yield json.loads(line)


def _marker_ids(tokenizer: PreTrainedTokenizerBase, template: str) -> frozenset[int]:
    """Tokens that order a conversation: special ones, and those that the template writes. Text may well be *unknown*."""
    added = {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or (len(str(token)) > 1 and str(token) in template)
    }
    named = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    unknown = named.pop("unk_token", None)
    only_unknown = {tokenizer.unk_token_id} if unknown is not None and unknown not in named.values() else set()
    return frozenset((added | set(tokenizer.all_special_ids)) - only_unknown)


def _to_the_answer(conversation: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    """The turns up to the last assistant turn, and the tools."""
    try:
        turns = [_checked(message) for message in conversation["messages"]]
        tools = conversation.get("tools") or None
    except (AttributeError, KeyError, TypeError) as error:
        raise Unreadable(f"not a conversation: {error!r}") from error
    last = max((index for index, turn in enumerate(turns) if turn["role"] == "assistant"), default=None)
    if last is None:
        raise Unreadable("no assistant turn, so no response")
    if last == 0:
        raise Unreadable("no turn before the answer, so no prompt")
    return turns[: last + 1], tools


def _checked(message: Mapping[str, Any]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message["role"], "content": message.get("content") or ""}
    if not isinstance(turn["role"], str) or not isinstance(turn["content"], str):
        raise TypeError("role and content must be text")
    if calls := message.get("tool_calls"):
        turn["tool_calls"] = [_checked_call(call) for call in calls]
    for key in ("tool_call_id", "name"):
        if message.get(key):
            turn[key] = str(message[key])
    return turn


def _checked_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments", "")
    try:  # templates write arguments as JSON themselves, so they want the object rather than its text
        parsed = json.loads(arguments)
    except (TypeError, ValueError):
        parsed = arguments
    called = {"name": str(function["name"]), "arguments": parsed if isinstance(parsed, dict) else arguments}
    return {"id": str(call.get("id", "")), "type": "function", "function": called}


def _with_calls_as_text(turn: dict[str, Any]) -> dict[str, Any]:
    calls = turn.get("tool_calls", ())
    lines = [f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>" for call in calls]
    content = "\n".join(filter(None, (turn["content"], *lines)))
    return {key: value for key, value in turn.items() if key != "tool_calls"} | {"content": content}
