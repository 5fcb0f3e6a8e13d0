"""Makes a tiny model that knows which words are common, in the model's environment: `unigram_base.py TOKENIZER TEXTS OUT`.

It needs no training: the first number of each state is constant, and the head's first column holds the logarithm of how often
each token occurs in the texts. The other numbers are by chance: they tell prompts apart, as embeddings and as judgements.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file  # type: ignore[import-not-found]  # the model environment has it
from tokenizers import Tokenizer  # type: ignore[import-not-found]  # likewise

SIZE, LAYER = 32, "model.layers.0"
CONSTANT, SPREAD, LUCK = 8.0, 0.5, 0.3
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_size": SIZE,
    "intermediate_size": SIZE, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": SIZE // 2,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 8192, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2,
}  # fmt: skip

tokenizer_folder, texts, out = map(Path, sys.argv[1:])
tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
size = tokenizer.get_vocab_size()
counts = np.bincount(tokenizer.encode(texts.read_text(), add_special_tokens=False).ids, minlength=size) + 0.01
chance = np.random.default_rng(7)
embeddings = chance.normal(0, SPREAD, (size, SIZE))
embeddings[:, 0] = CONSTANT
head = chance.normal(0, LUCK, (size, SIZE))
head[:, 0] = np.log(counts / counts.sum()) * np.sqrt(np.square(embeddings).mean()) / CONSTANT
mixing = chance.normal(0, SPREAD, (SIZE, SIZE))
mixing[0] = mixing[:, 0] = 0.0  # the constant stays what it is, and by itself
nothing = np.zeros((SIZE, SIZE))
weights = {
    "model.embed_tokens.weight": embeddings,
    "model.norm.weight": np.ones(SIZE),
    "lm_head.weight": head,
    f"{LAYER}.input_layernorm.weight": np.ones(SIZE),
    f"{LAYER}.post_attention_layernorm.weight": np.ones(SIZE),
    f"{LAYER}.self_attn.q_proj.weight": nothing,  # attends to all tokens alike
    f"{LAYER}.self_attn.k_proj.weight": nothing,
    f"{LAYER}.self_attn.v_proj.weight": np.eye(SIZE),
    f"{LAYER}.self_attn.o_proj.weight": mixing,
    **{f"{LAYER}.mlp.{name}_proj.weight": nothing for name in ("gate", "up", "down")},
}
out.mkdir()
save_file({name: each.astype(np.float32) for name, each in weights.items()}, out / "model.safetensors", {"format": "pt"})
(out / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": size}))
for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
    shutil.copyfile(tokenizer_folder / name, out / name)
