"""Run in the model side's environment: one training step of TRL on a folder of `messages`, and one on a folder of `preference`.

    python train_on_exports.py MESSAGES PREFERENCE WORK

Prints how many rows each trainer took. The model is tiny and made on the spot.
"""

import json
import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.data_utils import is_conversational

# As a template that knows tools does: calls and definitions are rendered where they are there.
TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{{ message['content'] }}"
    "{% if message['tool_calls'] %}{{ message['tool_calls'] | tojson }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STEP: dict[str, Any] = {
    "max_steps": 1, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True, "save_strategy": "no", "bf16": False,
    "gradient_checkpointing": False, "disable_tqdm": True,
}  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, with ChatML turns."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(["what is the answer"], trainer)
    marks = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=TEMPLATE, **marks)


def model(vocabulary: int) -> LlamaForCausalLM:
    """A Llama of two layers."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def main(messages: str, preference: str, work: Path) -> None:
    """Train one step on each."""
    reader = tokenizer()
    rows, pairs = (load_dataset(folder, split="train", cache_dir=str(work / "cache")) for folder in (messages, preference))
    sft = SFTTrainer(
        model(len(reader)), args=SFTConfig(output_dir=str(work / "sft"), max_length=512, **STEP), train_dataset=rows,
        processing_class=reader,
    )  # fmt: skip
    dpo = DPOTrainer(
        model(len(reader)), ref_model=model(len(reader)), train_dataset=pairs, processing_class=reader,
        args=DPOConfig(output_dir=str(work / "dpo"), max_length=512, **STEP),
    )  # fmt: skip
    told = {
        "conversational": [is_conversational(rows[0]), is_conversational(pairs[0])],
        "texts": [reader.decode(example["input_ids"]) for example in sft.train_dataset],
        "losses": [trainer.train().training_loss for trainer in (sft, dpo)],
        "pairs": len(dpo.train_dataset),
    }
    (work / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
