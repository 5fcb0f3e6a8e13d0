"""One supervised fine-tuning run with TRL and PEFT: `python -m headrace.lm.fine_tuning FOLDER`.

What the folder holds, and what the lines on standard output say, is in `headrace.core.fine_tuning`. A run that was killed is
started again in the same way: it goes on from its last whole checkpoint and ends with the same weights.
"""

import fcntl
import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights and rows are here; a hub has nothing to say
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")  # lines, not bars: this is read in logs

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from headrace.core.checkpoints import SEEN_FILE
from headrace.core.fine_tuning import (
    HELD_OUT_FILE,
    OUTCOME_FILE,
    RUN_FILE,
    STATE_FOLDER,
    TRAIN_FILE,
    WEIGHTS_FOLDER,
    FineTuningRun,
    Outcome,
    Progress,
    Stage,
)
from headrace.lm.conversations import ConversationReader, conversations_in
from headrace.lm.signals import Limits, SignalMeter
from headrace.lm.training_rows import training_set

_WHOLE = "whole"
"""Written into a checkpoint of TRL's once all of it is there."""

_LOGS_MAX = 1_000
_MEASURED_ROWS = 32
_TRAINED = ("adapter_model.safetensors", "adapter_config.json", "config.json", "generation_config.json")


def fine_tune(folder: Path) -> Outcome:
    """Does the run, or what is left of it, and says what came of it; at once where it was done before.

    Raises:
        ValueError: no row can be trained on, or the model cannot be measured.
    """
    if (folder / OUTCOME_FILE).is_file():
        return Outcome.model_validate_json((folder / OUTCOME_FILE).read_bytes())
    run = FineTuningRun.model_validate_json((folder / RUN_FILE).read_bytes())
    # A pass over all cores waits at every operation for the slowest, which on a busy machine costs ten times the pass.
    torch.set_num_threads(run.threads or max(1, (os.cpu_count() or 1) // 2))
    began = time.monotonic()
    _say(Stage.LOADING)
    readable = training_set(
        folder / TRAIN_FILE,
        tokenizer=Path(run.base),
        tokens_max=run.hyperparameters.tokens_max,
        cache=folder / STATE_FOLDER / "rows",
    )
    # All of them are seen: what the steps cannot take is left out, and not named among the samples.
    rows = readable.select(range(min(len(readable), run.hyperparameters.rows_max)))
    final = folder / STATE_FOLDER / f"checkpoint-{run.hyperparameters.steps}"
    if not (final / _WHOLE).is_file():
        _train(run, rows, folder / STATE_FOLDER)
        gc.collect()
    seconds = time.monotonic() - began
    _say(Stage.WRITING)
    _write_weights(run, rows, final, folder / WEIGHTS_FOLDER)
    held_out = _held_out_losses(run, folder)
    outcome = Outcome(
        rows_trained=len(rows),
        rows_unreadable=sum(1 for _ in conversations_in(folder / TRAIN_FILE)) - len(readable),
        rows_held_out=held_out.pop("held_out_rows", 0),
        metrics={"seconds": round(seconds, 3), **_training_metrics(final), **held_out},
    )
    _write_at_once(folder / OUTCOME_FILE, outcome.model_dump_json().encode())
    return outcome


def _train(run: FineTuningRun, rows: Dataset, state: Path) -> None:
    trainer = trainer_of(run, rows, state)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Reporter())
    whole = [path.parent for path in state.glob(f"checkpoint-*/{_WHOLE}")]
    latest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    for path in state.glob("checkpoint-*"):
        if not (path / _WHOLE).is_file():  # its writer was killed
            shutil.rmtree(path)
    trainer.train(resume_from_checkpoint=str(latest) if latest else None)


def trainer_of(run: FineTuningRun, rows: Dataset, state: Path) -> SFTTrainer:
    """TRL's trainer for this run: bfloat16 on a GPU, float32 on a CPU."""
    chosen = run.hyperparameters
    cuda = _on_cuda(run)
    arguments = SFTConfig(
        output_dir=str(state),
        max_steps=chosen.steps,
        per_device_train_batch_size=chosen.batch_rows,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=chosen.accumulate,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(chosen.warmup_share * chosen.steps),
        seed=chosen.seed,
        save_strategy="steps",
        save_steps=run.save_every_steps,
        save_total_limit=2,
        logging_steps=max(1, chosen.steps // _LOGS_MAX),
        include_num_input_tokens_seen="non_padding",
        max_length=None,  # the rows are cut already
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=not cuda,
        bf16=cuda,
        activation_checkpointing=cuda and chosen.full,
        dataloader_pin_memory=cuda,
        report_to="none",
        disable_tqdm=True,
    )
    adapter = LoraConfig(r=chosen.lora_rank, lora_alpha=chosen.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    # The weights of full training stay in float32, and bfloat16 is the arithmetic's: small steps would be rounded away.
    model = _loaded(Path(run.base), torch.bfloat16 if cuda and not chosen.full else torch.float32)
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.select_columns(["input_ids", "labels"]),
        processing_class=AutoTokenizer.from_pretrained(run.base),
        peft_config=None if chosen.full else adapter,
    )


class _Reporter(TrainerCallback):
    """Says where the training is, and marks checkpoints that are whole."""

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - TRL's interface
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - TRL's interface
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        if logs and "loss" in logs:
            _say(Stage.TRAINING, state.global_step, state.max_steps, logs["loss"])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:  # noqa: ARG002 - TRL's interface
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()


def _write_weights(run: FineTuningRun, rows: Dataset, trained: Path, weights: Path) -> None:
    """The trained files, without a trace of this machine, and the samples they have seen; replaces what is there."""
    shutil.rmtree(weights, ignore_errors=True)
    weights.mkdir()
    shards = sorted(path.name for path in trained.glob("model*.safetensors*"))
    for name in (*_TRAINED, *shards):
        if (trained / name).is_file():
            shutil.copyfile(trained / name, weights / name)
    if run.hyperparameters.full:
        AutoTokenizer.from_pretrained(run.base).save_pretrained(weights)
    else:
        path = weights / "adapter_config.json"
        written = json.loads(path.read_text()) | {"base_model_name_or_path": run.base_name}
        modules = written["target_modules"]  # a set, hence in another order each time
        path.write_text(json.dumps(written | {"target_modules": sorted(modules)}, sort_keys=True, indent=1))
    seen = sorted(zip(rows["sample_id"], rows["revision"], strict=True))
    with (weights / SEEN_FILE).open("w", encoding="utf-8", errors="surrogatepass") as file:
        file.writelines(json.dumps([sample_id, revision]) + "\n" for sample_id, revision in seen)


def _training_metrics(trained: Path) -> dict[str, float]:
    state = json.loads((trained / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    return {
        "train_loss": sum(losses) / len(losses),
        "train_loss_last": losses[-1],
        "tokens": float(state["num_input_tokens_seen"]),
        "steps": float(state["global_step"]),
    }


def _held_out_losses(run: FineTuningRun, folder: Path) -> dict[str, Any]:
    """Mean loss of the held-out conversations before and after, as scoring measures it; nothing where there are none."""
    dtype = torch.bfloat16 if _on_cuda(run) else torch.float32
    reader = ConversationReader(AutoTokenizer.from_pretrained(run.base))
    if next(conversations_in(folder / HELD_OUT_FILE), None) is None:
        return {}
    losses: dict[str, list[float]] = {}
    for stage, name in ((Stage.MEASURING_BEFORE, "before"), (Stage.MEASURING_AFTER, "after")):
        _say(stage)
        if name == "before" or run.hyperparameters.full:
            model = _loaded(Path(run.base) if name == "before" else folder / WEIGHTS_FOLDER, dtype)
        else:
            model = PeftModel.from_pretrained(_loaded(Path(run.base), dtype), folder / WEIGHTS_FOLDER).merge_and_unload()
        model = model.to("cuda" if _on_cuda(run) else "cpu").eval()
        losses[name] = _losses(model, reader, folder / HELD_OUT_FILE, run.hyperparameters.tokens_max)
        del model
        gc.collect()
    measured = len(losses["before"])
    if not measured:
        return {}
    means = {f"held_out_loss_{name}": sum(each) / measured for name, each in losses.items()}
    return {"held_out_rows": measured, **means}


def _losses(model: PreTrainedModel, reader: ConversationReader, path: Path, tokens_max: int) -> list[float]:
    threads = torch.get_num_threads()
    try:
        meter = SignalMeter.of(model, reader, limits=Limits(tokens_max=tokens_max))
        conversations, losses = conversations_in(path), []
        while part := list(islice(conversations, _MEASURED_ROWS)):
            losses += [row.loss_mean for row in meter.measure(part) if not row.error]
        return losses
    finally:
        torch.set_num_threads(threads)


def _loaded(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")


def _on_cuda(run: FineTuningRun) -> bool:
    return run.device == "cuda" or (run.device == "auto" and torch.cuda.is_available())


def _say(stage: Stage, step: int = 0, steps: int = 0, loss: float | None = None) -> None:
    print(Progress(stage=stage, step=step, steps=steps, loss=loss).model_dump_json(), flush=True)  # noqa: T201 - read by the parent


def _write_at_once(path: Path, body: bytes) -> None:
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_bytes(body)
    unfinished.replace(path)


def main(arguments: Sequence[str]) -> None:
    """The command line of this module."""
    (folder,) = map(Path, arguments)
    with (folder / "lock").open("w") as lock:  # of two that were told to go on, the second finds the work done
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            fine_tune(folder)
        except (ValueError, OSError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
