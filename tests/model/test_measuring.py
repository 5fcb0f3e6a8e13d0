"""Measuring files: the numbers are those of the meter, for the base and for an adapter on it."""

import copy
import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from headrace.core.measuring import (
    ERROR,
    JUDGE_ERROR,
    LOSS,
    MEASURE_FILE,
    PROMPTS,
    SCORES,
    VERSIONS_FILE,
    MeasuringRun,
    MeasuringTask,
)
from headrace.lm.measuring import measure
from headrace.lm.signals import Limits, SignalMeter

# PEFT and transformers warn of each other's deprecations.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

ROWS = [
    {"id": f"s{number}", "revision": 0, "tools": None, "messages": [
        {"role": "user", "content": f"what is {number} of two and three"},
        {"role": "assistant", "content": f"the answer is {number * number}"},
    ]}
    for number in range(20)
] + [{"id": "silent", "revision": 0, "tools": None, "messages": [{"role": "user", "content": "two"}]}]  # fmt: skip


def measured(folder, name):
    with np.load(folder / f"{name}.npz") as found:
        return {key: found[key] for key in found.files}


@pytest.fixture
def adapter(tmp_path_factory, model):
    """The folder of an adapter that changes something, and the model with it."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("trained") / "weights"
    tuned = get_peft_model(copy.deepcopy(model), config)
    tuned.save_pretrained(folder)
    return folder, tuned.merge_and_unload()


def test_base_and_adapter_are_measured_as_the_meter_does(tmp_path_factory, folder, meter_of, reader, adapter):
    """One result per task, rows in order; an unreadable row says why, and an adapter's losses are those of the model with it."""
    (weights, merged), job = adapter, tmp_path_factory.mktemp("job")
    (job / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tasks = (
        MeasuringTask(name="base", rows_file="rows.jsonl", judged=True),
        MeasuringTask(name="tuned", rows_file="rows.jsonl", weights=str(weights)),
    )
    run = MeasuringRun(base=str(folder), tasks=tasks, tokens_max=96, device="cpu")
    (job / MEASURE_FILE).write_text(run.model_dump_json())
    measure(job)
    base, tuned = measured(job, "base"), measured(job, "tuned")
    expected = meter_of(tokens_max=96, dtype="auto").measure(ROWS)
    assert base[LOSS][:20] == pytest.approx([one.loss_mean for one in expected[:20]], abs=0.02)
    assert base[PROMPTS].shape == (21, 48)
    assert base[ERROR][20]
    assert set(base[ERROR][:20]) == {""}
    assert base[SCORES].shape == (21, 6)
    assert tuned[JUDGE_ERROR].tolist() == ["not asked"] * 21
    expected = SignalMeter.of(merged.eval(), reader, limits=Limits(tokens_max=96), workers=1).measure(ROWS)
    assert tuned[LOSS][:20] == pytest.approx([one.loss_mean for one in expected[:20]], rel=0.02)
    assert np.abs(tuned[LOSS][:20] - base[LOSS][:20]).min() > 0
    assert "torch" in json.loads((job / VERSIONS_FILE).read_text())
    assert not list(weights.parent.glob("merged-*"))


def test_what_was_measured_is_not_measured_again(tmp_path_factory, folder):
    """A result that is there stays as it is."""
    job = tmp_path_factory.mktemp("job")
    (job / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    task = MeasuringTask(name="base", rows_file="rows.jsonl")
    (job / MEASURE_FILE).write_text(MeasuringRun(base=str(folder), tasks=(task,)).model_dump_json())
    (job / task.result_file).write_bytes(b"as it was")
    measure(job)
    assert (job / task.result_file).read_bytes() == b"as it was"
