"""Training: the loss that TRL minimises is the one that scoring measures, and a run that is killed ends the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from safetensors.numpy import load_file

from headrace.core.checkpoints import SEEN_FILE
from headrace.core.fine_tuning import OUTCOME_FILE, FineTuningRun, Outcome, Progress, Stage
from headrace.lm.conversations import Unreadable
from headrace.lm.fine_tuning import fine_tune, trainer_of
from headrace.lm.signals import Limits, SignalMeter
from headrace.lm.training_rows import IGNORED, labelled, training_set

# TRL and transformers warn of each other's deprecations.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

TOKENS_MAX = 96
ROOT = Path(__file__).resolve().parents[2]


def conversation(number: int, words: int = 9) -> dict:
    text = " ".join(["two and three", "the answer", "is what", str(number)][(number + step) % 4] for step in range(words))
    turns = [{"role": "user", "content": f"what is {number}"}, {"role": "assistant", "content": f"{text} is {number}"}]
    return {"id": f"s{number:02}", "revision": number % 3, "messages": turns, "tools": None}


def job(folder: Path, base: Path, *, full: bool = False, steps: int = 6) -> FineTuningRun:
    """A run's folder: twelve rows, one of them unreadable, and four held out."""
    folder.mkdir()
    chosen = {"steps": steps, "tokens_max": TOKENS_MAX, "full": full, "learning_rate": 1e-2, "lora_rank": 4}
    run = FineTuningRun.model_validate(
        {"base": str(base), "base_name": "tiny", "hyperparameters": chosen, "save_every_steps": 2, "device": "cpu", "threads": 1}
    )
    (folder / "run.json").write_text(run.model_dump_json())
    rows = [conversation(number) for number in range(11)]
    rows.append({"id": "silent", "revision": 0, "messages": [{"role": "user", "content": "two"}], "tools": None})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "held_out.jsonl").write_text("".join(json.dumps(conversation(number)) + "\n" for number in range(20, 24)))
    return run


def weights_in(folder: Path) -> dict[str, np.ndarray]:
    (path,) = (folder / "weights").glob("*.safetensors")
    return load_file(path)


@pytest.fixture
def base(tmp_path, model, tokenizer) -> Path:
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("full", [False, True])
def test_trl_minimises_the_loss_that_scoring_measures(tmp_path, base, full):
    """Conversation by conversation, cut ones included, TRL's loss is the signal's mean over the response's tokens."""
    run = job(tmp_path / "run", base, full=full)
    long = [conversation(number, words=40) for number in (30, 31)]
    (tmp_path / "run" / "train.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in [*map(conversation, range(6)), *long])
    )
    named = {"tokenizer": base, "tokens_max": TOKENS_MAX, "cache": tmp_path / "cache"}
    rows = training_set(tmp_path / "run" / "train.jsonl", **named)
    trainer = trainer_of(run, rows, tmp_path / "state")
    meter = SignalMeter.load(base, device="cpu", dtype="float32", limits=Limits(tokens_max=TOKENS_MAX), workers=1)
    measured = meter.measure([*map(conversation, range(6)), *long])
    readable = [one for one in measured if not one.error]
    assert len(readable) == len(rows) >= 6
    assert any(one.truncated for one in readable)
    found = [trainer.evaluate(Dataset.from_list([row]))["eval_loss"] for row in rows.select_columns(["input_ids", "labels"])]
    assert found == pytest.approx([one.loss_mean for one in readable], abs=1e-5)


def test_only_the_response_is_learnt(reader):
    """Every token of the prompt is ignored; the response's labels are its tokens, its end among them."""
    ids, labels = labelled(reader, conversation(1), 1024)
    border = sum(label == IGNORED for label in labels)
    assert labels == [IGNORED] * border + ids[border:]
    (tokens,) = reader.tokens([reader.render(conversation(1))])
    assert (ids[:border], ids[border:]) == (tokens.prompt, tokens.response)
    with pytest.raises(Unreadable, match="within 8 tokens"):
        labelled(reader, conversation(1), 8)


def test_a_run_leaves_an_adapter_and_its_samples(tmp_path, base, capfd):
    """A LoRA run makes the held-out loss smaller, names what it has seen, and carries no trace of the machine."""
    job(tmp_path / "run", base, steps=12)
    outcome = fine_tune(tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    assert sorted(path.name for path in weights.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", SEEN_FILE]
    seen = [json.loads(line) for line in (weights / SEEN_FILE).read_text().splitlines()]
    assert seen == [[f"s{number:02}", number % 3] for number in range(11)]
    assert (outcome.rows_trained, outcome.rows_unreadable, outcome.rows_held_out) == (11, 1, 4)
    assert outcome.metrics["held_out_loss_after"] < outcome.metrics["held_out_loss_before"]
    assert outcome.metrics["tokens"] > 0
    assert str(tmp_path) not in (weights / "adapter_config.json").read_text()
    lines = [Progress.model_validate_json(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [line.step for line in lines if line.stage is Stage.TRAINING] == list(range(1, 13))
    assert fine_tune(tmp_path / "run") == outcome


def test_full_training_leaves_a_whole_model(tmp_path, base):
    """All weights, configuration and tokenizer: a folder that scoring loads, with the loss that the run measured."""
    job(tmp_path / "run", base, full=True, steps=2)
    outcome = fine_tune(tmp_path / "run")
    assert outcome.rows_trained == 4, "two steps take no more, and no more are named"
    meter = SignalMeter.load(tmp_path / "run" / "weights", device="cpu", dtype="float32", workers=1)
    losses = [row.loss_mean for row in meter.measure([conversation(number) for number in range(20, 24)])]
    assert outcome.metrics["held_out_loss_after"] == pytest.approx(sum(losses) / 4, abs=1e-5)
    assert str(tmp_path) not in (tmp_path / "run" / "weights" / "config.json").read_text()


def test_a_killed_run_ends_with_the_same_weights(tmp_path, base):
    """Killed in the middle of training, and again while a checkpoint is half there: the same weights, bit by bit."""
    job(tmp_path / "whole", base, steps=8)
    whole = fine_tune(tmp_path / "whole")
    job(tmp_path / "killed", base, steps=8)
    command = (sys.executable, "-m", "headrace.lm.fine_tuning", str(tmp_path / "killed"))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "libs")}
    state = tmp_path / "killed" / "state"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (state / "checkpoint-2" / "whole").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / OUTCOME_FILE).exists()
    (state / "checkpoint-7").mkdir()
    (state / "checkpoint-7" / "trainer_state.json").write_text("{")
    resumed = fine_tune(tmp_path / "killed")
    assert comparable(resumed) == comparable(whole)
    ours, theirs = weights_in(tmp_path / "killed"), weights_in(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    names = ("adapter_config.json", SEEN_FILE)
    assert all((tmp_path / run / "weights" / names[0]).read_bytes() for run in ("killed", "whole"))
    for name in names:
        assert (tmp_path / "killed" / "weights" / name).read_bytes() == (tmp_path / "whole" / "weights" / name).read_bytes()


def test_nothing_readable_is_an_error(tmp_path, base):
    """A run without a single response says so."""
    job(tmp_path / "run", base)
    silent = {"id": "a", "revision": 0, "messages": [{"role": "user", "content": "two"}], "tools": None}
    (tmp_path / "run" / "train.jsonl").write_text(json.dumps(silent) + "\n")
    with pytest.raises(ValueError, match="none of the conversations has a response"):
        fine_tune(tmp_path / "run")


def comparable(outcome: Outcome) -> dict:
    return {name: value for name, value in outcome.metrics.items() if name != "seconds"}
