"""Conversations as rows of a training set: the tokens that scoring reads, and loss on the response that scoring measures."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from transformers import AutoTokenizer

from headrace.lm.conversations import ConversationReader, Unreadable, conversations_in
from headrace.lm.packing import cut

IGNORED = -100
"""The label of a token that is read and not learnt."""

_FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "sample_id": Value("string"),
        "revision": Value("int64"),
    }
)


def labelled(reader: ConversationReader, conversation: Mapping[str, Any], tokens_max: int) -> tuple[list[int], list[int]]:
    """The tokens of a conversation, cut at its end to `tokens_max`, and their labels: the response's own, all others ignored.

    Raises:
        Unreadable: scoring could not measure it either: no response, no prompt, or none of it within `tokens_max`.
    """
    (tokens,) = reader.tokens([reader.render(conversation)])
    piece = cut(0, tokens, tokens_max)
    prompt, response = piece.tokens.prompt, piece.tokens.response
    if not prompt or not response:
        raise Unreadable(f"no prompt or no response token within {tokens_max} tokens")
    return prompt + response, [IGNORED] * len(prompt) + response


def training_set(path: Path, *, tokenizer: Path, tokens_max: int, cache: Path) -> Dataset:
    """The readable conversations of the file as a data set on disk: `input_ids` and `labels`, as TRL takes them.

    Raises:
        ValueError: none is readable.
    """
    named = {"path": str(path), "tokenizer": str(tokenizer), "tokens_max": tokens_max}
    if next(iter(_rows(**named)), None) is None:
        raise ValueError(f"none of the conversations has a response within {tokens_max} tokens")
    return Dataset.from_generator(_rows, features=_FEATURES, cache_dir=str(cache), gen_kwargs=named)


def _rows(path: str, tokenizer: str, tokens_max: int) -> Iterable[dict[str, Any]]:
    reader = ConversationReader(AutoTokenizer.from_pretrained(tokenizer))
    for conversation in conversations_in(Path(path)):
        try:
            ids, labels = labelled(reader, conversation, tokens_max)
        except Unreadable:
            continue
        yield {"input_ids": ids, "labels": labels, "sample_id": conversation["id"], "revision": conversation["revision"]}
