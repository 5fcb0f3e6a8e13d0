"""LoRA adapters merged into their base, without torch."""

import numpy as np
import pytest

from headrace.adapters.checkpoints.lora_merge import Unmergeable, merge
from headrace.adapters.checkpoints.tensor_files import tensors_of
from headrace.core.checkpoint_manifests import UnsafeCheckpoint
from tests.fakes.model_repositories import HIDDEN, Q, adapter_folder, tensors, weights_folder, write_tensors

NAME = f"base_model.model.{Q.removesuffix('.weight')}"


def read(folder):
    found = tensors_of(sorted(folder.glob("*.safetensors")), header_bytes_max=2**20)
    return {name: tensor.read() for name, tensor in found.items()}


def random_adapter(folder, rank=3, **config):
    adapter_folder(folder, **config)
    luck = np.random.default_rng(1)
    down, up = luck.normal(size=(rank, HIDDEN)).astype(np.float32), luck.normal(size=(HIDDEN, rank)).astype(np.float32)
    write_tensors(folder / "adapter_model.safetensors", {f"{NAME}.lora_A.weight": down, f"{NAME}.lora_B.weight": up})
    return down, up


@pytest.mark.parametrize(
    ("config", "scale", "transposed"),
    [
        ({"lora_alpha": 8}, 8 / 3, False),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / 3**0.5, False),
        ({"lora_alpha": 8, "fan_in_fan_out": True}, 8 / 3, True),
    ],
)
def test_the_matrices_are_added_in_proportion(tmp_path, config, scale, transposed):
    """W + scale · B·A, and everything else as it was, byte for byte."""
    base = weights_folder(tmp_path / "base")
    down, up = random_adapter(tmp_path / "adapter", **config)
    (tmp_path / "out").mkdir()
    assert merge(tmp_path / "adapter", base, tmp_path / "out", header_bytes_max=2**20) == 1
    change = up.astype(np.float64) @ down.astype(np.float64) * scale
    merged, weights = read(tmp_path / "out"), tensors()
    np.testing.assert_allclose(merged[Q], weights[Q] + (change.T if transposed else change), atol=1e-5)
    for name in weights.keys() - {Q}:
        np.testing.assert_array_equal(merged[name], weights[name])


def test_a_bfloat16_base_stays_bfloat16_and_is_rounded_to_the_nearest(tmp_path):
    """The sum is taken in float32, then rounded once."""
    base = weights_folder(tmp_path / "base")
    bits = {name: (values.view(np.uint32) >> 16).astype(np.uint16) for name, values in tensors().items()}
    write_tensors(base / "model.safetensors", bits, "BF16")
    down, up = random_adapter(tmp_path / "adapter", lora_alpha=3)
    (tmp_path / "out").mkdir()
    merge(tmp_path / "adapter", base, tmp_path / "out", header_bytes_max=2**20)
    wanted = (bits[Q].astype(np.uint32) << 16).view(np.float32) + up @ down
    np.testing.assert_allclose(read(tmp_path / "out")[Q], wanted, rtol=2**-8)
    assert (tmp_path / "out" / "model.safetensors").stat().st_size == (base / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"something_new": 1}, "something_new"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"lora_alpha": None}, "no LoRA adapter"),
    ],
)
def test_what_would_mean_something_else_is_refused(tmp_path, config, told):
    """Never merged as if it were plain LoRA."""
    base = weights_folder(tmp_path / "base")
    adapter_folder(tmp_path / "adapter", **config)
    with pytest.raises(Unmergeable, match=told):
        merge(tmp_path / "adapter", base, tmp_path, header_bytes_max=2**20)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({f"{NAME}.lora_A.weight": (2, HIDDEN)}, "one of its two"),
        ({f"{NAME}.lora_A.weight": (2, 5), f"{NAME}.lora_B.weight": (HIDDEN, 2)}, "do not make"),
        ({f"{NAME}.lora_A.weight": (2, HIDDEN), f"{NAME}.lora_B.weight": (HIDDEN, 3)}, "do not make"),
        ({f"{NAME}.lora_A.weight": (2, HIDDEN, 1), f"{NAME}.lora_B.weight": (HIDDEN, 2)}, "not merged here"),
        ({"base_model.model.lm_head.lora_A.weight": (2, 6), "base_model.model.lm_head.lora_B.weight": (6, 2)}, "has no weights"),
        ({"base_model.model.lm_head.weight": (2, 6)}, "no part of a LoRA"),
    ],
)
def test_matrices_that_do_not_fit_are_refused_by_name(tmp_path, weights, told):
    """The base is not written."""
    base = weights_folder(tmp_path / "base")
    adapter_folder(tmp_path / "adapter")
    write_tensors(tmp_path / "adapter" / "adapter_model.safetensors", {k: np.ones(v) for k, v in weights.items()})
    with pytest.raises(Unmergeable, match=told):
        merge(tmp_path / "adapter", base, tmp_path, header_bytes_max=2**20)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_pickle_under_the_name_of_an_adapter_is_not_read(tmp_path):
    """Only safetensors are."""
    base = weights_folder(tmp_path / "base")
    adapter_folder(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"\x80\x04K\x01." * 10)
    with pytest.raises(UnsafeCheckpoint):
        merge(tmp_path / "adapter", base, tmp_path, header_bytes_max=2**20)


def test_a_base_in_several_files_is_merged_file_by_file(tmp_path):
    """Each tensor is found where it lies."""
    base = weights_folder(tmp_path / "base")
    weights = tensors()
    (base / "model.safetensors").unlink()
    write_tensors(base / "model-00001-of-00002.safetensors", {Q: weights[Q]})
    write_tensors(base / "model-00002-of-00002.safetensors", {name: each for name, each in weights.items() if name != Q})
    adapter_folder(tmp_path / "adapter", change=0.5)
    (tmp_path / "out").mkdir()
    merge(tmp_path / "adapter", base, tmp_path / "out", header_bytes_max=2**20)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    assert read(tmp_path / "out")[Q][0, 0] == pytest.approx(2.5)
