"""Makes a tiny model with a real tokenizer, in the model's environment: `tiny_base.py TOKENIZER OUT`."""

import sys

import torch  # type: ignore[import-not-found]  # the model environment has it
from transformers import (  # type: ignore[import-not-found]  # likewise
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
torch.manual_seed(7)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=True,
)  # fmt: skip
LlamaForCausalLM(config).save_pretrained(sys.argv[2])
tokenizer.save_pretrained(sys.argv[2])
