"""Adapters as the roll-out merges them, against PEFT's own merge."""

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from headrace.adapters.checkpoints.lora_merge import merge

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
STARTS = [{}, {"use_rslora": True}, {"target_modules": "all-linear"}, {"init_lora_weights": "orthogonal"}]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", STARTS)
def test_merging_agrees_with_peft(folder, tmp_path, options, dtype):
    """Every tensor to 1e-5 in float32, to one rounding in bfloat16; the merged folder loads as a plain model."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    base.save_pretrained(tmp_path / "base")
    torch.manual_seed(3)
    config = LoraConfig(**{"r": 8, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | options)
    trained = get_peft_model(base, config)
    for name, parameter in trained.named_parameters():
        if "lora_" in name:  # as after training: B is no longer zero
            torch.nn.init.normal_(parameter, std=0.05)
    trained.save_pretrained(tmp_path / "adapter")

    (tmp_path / "out").mkdir()
    changed = merge(tmp_path / "adapter", tmp_path / "base", tmp_path / "out", header_bytes_max=2**20)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    wanted = PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    found = load_file(tmp_path / "out" / "model.safetensors")
    tolerance = 1e-5 if dtype is torch.float32 else 2**-8
    for name, tensor in found.items():
        assert tensor.dtype is dtype
        torch.testing.assert_close(tensor.float(), wanted[name].float(), rtol=tolerance, atol=1e-5)
    before = load_file(tmp_path / "base" / "model.safetensors")
    assert changed == sum(not torch.equal(before[name], found[name]) for name in found)

    shutil.copyfile(tmp_path / "base" / "config.json", tmp_path / "out" / "config.json")
    model, told = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32, output_loading_info=True)
    assert not any(told.values())
    ids = torch.arange(20)[None]
    merged = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32), tmp_path / "adapter"
    )
    if dtype is torch.float32:
        with torch.inference_mode():
            torch.testing.assert_close(model(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
