"""The numbers: against the model's own forward pass, one conversation at a time."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, MistralConfig, MistralForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from headrace.lm.attention import packed_attention
from headrace.lm.conversations import ConversationReader
from headrace.lm.signals import Limits, Measurement, SignalMeter

Conversation = dict[str, Any]


def conversations(count: int, seed: int = 3) -> list[Conversation]:
    """Lengths from a few tokens to several hundred, one to three rounds, every other one with a system turn."""
    rng = random.Random(seed)
    words = ["the", "answer", "is", "two", "3", "größe", "数学", "\U0001f9ee", "and\n", "  x"]

    def text() -> str:
        return " ".join(rng.choices(words, k=int(rng.lognormvariate(2, 1)) + 1))

    def one(number: int) -> Conversation:
        rounds = [{"role": role, "content": text()} for _ in range(rng.randint(1, 3)) for role in ("user", "assistant")]
        return {"messages": [*([{"role": "system", "content": text()}] if number % 2 else []), *rounds]}

    return [one(number) for number in range(count)]


def naive(model: PreTrainedModel, reader: ConversationReader, conversation: Conversation) -> Measurement:
    """The definition, spelled out: no batching, no packing, no cleverness."""
    (tokens,) = reader.tokens([reader.render(conversation)])
    ids = torch.tensor([tokens.prompt + tokens.response])
    with torch.inference_mode():
        output = model(input_ids=ids, output_hidden_states=True)
    begin = len(tokens.prompt)
    losses = cross_entropy(output.logits[0, begin - 1 : -1].float(), ids[0, begin:], reduction="none").numpy()
    hidden = output.hidden_states[-1][0].float().numpy()
    prompt, whole = hidden[:begin].mean(axis=0), hidden.mean(axis=0)
    return Measurement(
        float(losses.mean()), float(losses.std()), begin, len(tokens.response), truncated=False,
        prompt_embedding=prompt / np.linalg.norm(prompt), conversation_embedding=whole / np.linalg.norm(whole),
    )  # fmt: skip


def assert_alike(found: Measurement, expected: Measurement, tolerance: float = 1e-4) -> None:
    assert (found.error, found.truncated) == (expected.error, expected.truncated)
    assert (found.prompt_tokens, found.response_tokens) == (expected.prompt_tokens, expected.response_tokens)
    assert found.loss_mean == pytest.approx(expected.loss_mean, abs=tolerance)
    assert found.loss_std == pytest.approx(expected.loss_std, abs=tolerance)
    for mine, theirs in (
        (found.prompt_embedding, expected.prompt_embedding),
        (found.conversation_embedding, expected.conversation_embedding),
    ):
        assert mine is not None
        assert theirs is not None
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, theirs, atol=tolerance)


@pytest.mark.parametrize(("row_tokens_max", "workers"), [(64, 1), (256, 2), (100_000, 1)])
def test_packed_numbers_are_the_models_own(
    meter_of: Callable[..., SignalMeter], model: PreTrainedModel, reader: ConversationReader, row_tokens_max: int, workers: int
) -> None:
    """Loss, spread, counts and both embeddings equal those of one plain pass per conversation, however rows are packed."""
    sent = conversations(40)
    found = meter_of(row_tokens_max=row_tokens_max, workers=workers).measure(sent)
    for conversation, measurement in zip(sent, found, strict=True):
        assert_alike(measurement, naive(model, reader, conversation))


def test_the_company_a_conversation_keeps_does_not_matter(meter_of: Callable[..., SignalMeter]) -> None:
    """Alone, in any order, among others: the same numbers."""
    meter = meter_of()
    sent = conversations(20, seed=5)
    expected = meter.measure(sent)
    order = random.Random(1).sample(range(20), 20)
    for place, measurement in zip(order, meter.measure([sent[place] for place in order]), strict=True):
        assert_alike(measurement, expected[place])
    for place in range(0, 20, 5):
        assert_alike(meter.measure([sent[place]])[0], expected[place])


def test_the_prompts_embedding_does_not_depend_on_the_response(meter_of: Callable[..., SignalMeter]) -> None:
    """Two answers to one question lie in the same place, and are two conversations."""
    question = {"role": "user", "content": "what is two and three?"}
    first, second = meter_of().measure(
        [{"messages": [question, {"role": "assistant", "content": text}]} for text in ("five", "the answer is 7 " * 9)]
    )
    np.testing.assert_allclose(first.prompt_embedding, second.prompt_embedding, atol=1e-5)
    assert not np.allclose(first.conversation_embedding, second.conversation_embedding, atol=1e-2)


def test_prompts_as_plain_text_have_the_models_own_mean(
    meter_of: Callable[..., SignalMeter], model: PreTrainedModel, reader: ConversationReader
) -> None:
    """However rows are packed, without the template, with a BOS where the tokenizer has one; what is no prompt has none."""
    sent = conversations(20)
    found = meter_of(row_tokens_max=64).plain_prompts([*sent, {"messages": []}, None])
    for conversation, one in zip(sent, found, strict=False):
        ids = reader.plain_prompt(conversation)
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0].float().numpy()
        expected = hidden.mean(axis=0)
        assert one.embedding is not None
        np.testing.assert_allclose(one.embedding, expected / np.linalg.norm(expected), atol=1e-4)
        assert one.tokens == len(ids)
    assert [(one.embedding, one.tokens) for one in found[-2:]] == [(None, 0)] * 2
    assert meter_of(tokens_max=3).plain_prompts(sent[:1])[0].tokens == 3


def test_a_conversation_that_is_too_long_is_cut_at_its_end(meter_of: Callable[..., SignalMeter]) -> None:
    """What fits is measured, and the cut is told."""
    turns = [{"role": "user", "content": "two?"}, {"role": "assistant", "content": "the answer is " * 200}]
    (whole,) = meter_of(tokens_max=4000).measure([{"messages": turns}])
    (cut,) = meter_of(tokens_max=100).measure([{"messages": turns}])
    assert not whole.truncated
    assert cut.truncated
    assert (cut.prompt_tokens, cut.prompt_tokens + cut.response_tokens) == (whole.prompt_tokens, 100)
    assert np.isfinite(cut.loss_mean)


def test_a_prompt_that_leaves_no_room_for_a_response_is_not_measured(meter_of: Callable[..., SignalMeter]) -> None:
    """An error, not a number; the others of the batch are measured."""
    long = {"messages": [{"role": "user", "content": "two " * 200}, {"role": "assistant", "content": "four"}]}
    short = {"messages": [{"role": "user", "content": "two?"}, {"role": "assistant", "content": "four"}]}
    found = meter_of(tokens_max=64).measure([long, {"messages": []}, short])
    assert [measurement.error for measurement in found] == [
        "no response token within 64 tokens",
        "no assistant turn, so no response",
        "",
    ]
    assert [measurement.truncated for measurement in found] == [True, False, False]
    assert np.isnan(found[0].loss_mean)
    assert found[0].prompt_embedding is None


def test_an_empty_response_has_the_loss_of_its_end_of_turn_token(meter_of: Callable[..., SignalMeter]) -> None:
    """One token, so no spread."""
    (found,) = meter_of().measure([{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": ""}]}])
    assert (found.response_tokens, found.loss_std) == (1, 0.0)
    assert found.loss_mean > 0


def test_nothing_gives_nothing(meter_of: Callable[..., SignalMeter]) -> None:
    """An empty batch is no special case."""
    assert meter_of().measure([]) == []


def test_numbers_that_are_not_finite_are_errors(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """A broken checkpoint gives no loss at all."""
    meter = SignalMeter.load(folder, device="cpu", dtype="float32", workers=1)
    with torch.no_grad():
        meter._model.base_model.norm.weight.fill_(float("nan"))
    (found,) = meter.measure(conversations(1))
    assert "not a finite number" in found.error
    assert found.prompt_embedding is None


def test_half_precision_is_close(meter_of: Callable[..., SignalMeter]) -> None:
    """bfloat16 moves a loss by rounding, not by more."""
    sent = conversations(10)
    for exact, rough in zip(meter_of().measure(sent), meter_of(dtype="bfloat16").measure(sent), strict=True):
        assert rough.loss_mean == pytest.approx(exact.loss_mean, rel=0.02)
        assert float(np.dot(exact.conversation_embedding, rough.conversation_embedding)) > 0.999


def test_a_model_with_a_narrow_window_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Packing knows no sliding windows, and says so instead of measuring wrongly."""
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, sliding_window=128,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="attends to 128 tokens only"):
        SignalMeter.load(tmp_path, device="cpu", dtype="float32", workers=1)
    assert SignalMeter.load(tmp_path, device="cpu", dtype="float32", workers=1, limits=Limits(tokens_max=128)).measure([]) == []


def test_a_model_whose_tokens_mix_by_other_means_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is checked against its own forward pass when it is loaded."""

    def leaky(*states: Any, borders: Sequence[int], **options: Any) -> Any:
        return packed_attention(*states, borders=(0, borders[-1]), **options)

    AttentionInterface.register("leaky", leaky)
    monkeypatch.setattr("headrace.lm.signals.PACKED", "leaky")
    with pytest.raises(ValueError, match="cannot be measured in packed rows"):
        SignalMeter.load(folder, device="cpu", dtype="float32", workers=1)
