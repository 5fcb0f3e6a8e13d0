"""Tests of the language model's side. They run in its environment, with pytest lent by the other: see test_model_suite.py."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

    from headrace.lm.conversations import ConversationReader
    from headrace.lm.signals import Limits, SignalMeter

    CHATML = (
        "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
        "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )

    @pytest.fixture(scope="session")
    def tokenizer() -> PreTrainedTokenizerFast:
        """A byte-level tokenizer with ChatML turns, made on the spot."""
        backend = Tokenizer(models.BPE())
        digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        backend.decoder = decoders.ByteLevel()
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
        backend.train_from_iterator(["system user assistant tool the answer is what of and two three"] * 9, trainer)
        marks = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=CHATML, **marks)

    @pytest.fixture(scope="session")
    def model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
        """A tiny Llama with grouped queries and random weights large enough that every token matters."""
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.2, tie_word_embeddings=True,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval()

    @pytest.fixture
    def folder(tmp_path: Any, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Any:
        """The tiny model as a folder in the Hugging Face layout."""
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return tmp_path

    @pytest.fixture
    def meter_of(folder: Any) -> Callable[..., SignalMeter]:
        """Loads the tiny model with these limits."""

        def load(tokens_max: int = 1024, row_tokens_max: int = 256, **options: Any) -> SignalMeter:
            limits = Limits(tokens_max, row_tokens_max)
            return SignalMeter.load(folder, device="cpu", limits=limits, **{"dtype": "float32", "workers": 2} | options)

        return load

    @pytest.fixture
    def reader(tokenizer: PreTrainedTokenizerFast) -> ConversationReader:
        return ConversationReader(tokenizer)
