"""Texts written side by side: none depends on those beside it."""

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from headrace.lm.judge_writing import GrowingLayer, write_side_by_side

PROMPTS = [[3 + (7 * step * step + number) % 300 for step in range(length)] for number, length in enumerate((9, 1, 40, 17, 23))]


@pytest.mark.parametrize("wanted", [(6, 6, 6, 6, 6), (1, 6, 4, 6, 2), (5, 1, 1, 1, 1)])
def test_texts_written_side_by_side_are_those_of_plain_loops(model: PreTrainedModel, wanted: tuple[int, ...]) -> None:
    """Prompts of many lengths, texts that leave the others early or stay to the end: each is what the model writes alone."""
    texts: list[list[int]] = [[] for _ in PROMPTS]

    def goes_on(number: int, word: int) -> bool:
        texts[number].append(word)
        return len(texts[number]) < wanted[number]

    with torch.inference_mode():
        write_side_by_side(model, PROMPTS, draw=lambda logits, _: logits.argmax(dim=-1).tolist(), goes_on=goes_on, words_max=6)
    assert texts == [greedy(model, prompt, words) for prompt, words in zip(PROMPTS, wanted, strict=True)]


def greedy(model: PreTrainedModel, prompt: Sequence[int], words: int) -> list[int]:
    """Every word by a whole pass over all before it."""
    written: list[int] = []
    with torch.inference_mode():
        for _ in range(words):
            written.append(int(model(input_ids=torch.tensor([[*prompt, *written]])).logits[0, -1].argmax()))
    return written


def test_no_text_is_longer_than_allowed(model: PreTrainedModel) -> None:
    """The limit ends what would go on; one word needs no further pass."""
    for words_max in (1, 3):
        told: list[int] = []
        with torch.inference_mode():
            write_side_by_side(
                model, PROMPTS[:2], draw=lambda logits, _: [5] * len(logits),
                goes_on=lambda number, _, told=told: told.append(number) or True, words_max=words_max,
            )  # fmt: skip
        assert told == [0, 1] * words_max


def test_a_layer_grows_like_one_that_copies_everything() -> None:
    """Shorter texts are filled up in front; room that is used up is made again; who leaves takes his own words along."""
    torch.manual_seed(3)
    keys, values = ([torch.randn(1, 2, length, 4) for length in (3, 5)] for _ in range(2))
    layer = GrowingLayer(keys, values, room=2)
    expected = [torch.cat([torch.nn.functional.pad(some[0], (0, 0, 2, 0)), some[1]]) for some in (keys, values)]
    for step, tokens in enumerate((1, 1, 1, 4, 1)):
        new = [torch.randn(len(expected[0]), 2, tokens, 4) for _ in range(2)]
        expected = [torch.cat(pair, dim=-2) for pair in zip(expected, new, strict=True)]
        for found, wanted in zip(layer.update(*new), expected, strict=True):
            assert torch.equal(found, wanted)
        assert layer.get_seq_length() == expected[0].shape[-2]
        if step == 2:
            layer.batch_select_indices(torch.tensor([1]))
            expected = [some[[1]] for some in expected]
