"""Tokens a second that signals are made at, against a bare forward pass: `python -m tests.bench.bench_signals [--tokens N]`.

The conversations are real ones (champ-dataset: a problem and a language model's first answer), of mixed lengths. *Signals* is
`SignalMeter.measure` whole: chat template, tokenising, packing, forward pass, loss, pooling. *Bare* is the model's body over the
same tokens and its head over the response positions alone, already tokenised, without a padding token: once with each
conversation by itself, once with the same tokens cut into rows of equal length, which spares attention what long conversations
cost it. All take turns in one process, with the same threads; the best round counts. Processor time is shown because it hardly
depends on what else the machine does.
"""

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import champ_dataset
from rich.console import Console
from rich.table import Table

from headrace.local.cache import once
from headrace.local.checkout import checkout, model_python
from headrace.local.signals import WEIGHTS

SCRIPT = "tests/model/forward_passes.py"


def conversations(seed: int = 0) -> list[dict[str, Any]]:
    """Problems with the first answer that a language model gave, in random but repeatable order."""
    found = []
    for problem in champ_dataset.load("v0").problems.values():
        for conversation in problem.conversations.values():
            turns = []
            for message in conversation.messages:
                is_answer = message.role.startswith("Model.")
                turns.append({"role": "assistant" if is_answer else message.role.lower(), "content": message.text})
                if is_answer:
                    break
            if turns[-1]["content"] and all(turn["role"] in {"system", "user", "assistant"} for turn in turns):
                found.append({"messages": turns})
    random.Random(seed).shuffle(found)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=12_000, help="about so many tokens a round; a GPU wants a million")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    arguments = parser.parse_args()
    weights = once(WEIGHTS, convert_weights)
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "conversations.json"
        texts.write_text(json.dumps(conversations()))
        told = json.loads(
            run_model_side(
                SCRIPT, "--weights", str(weights), "--conversations", str(texts),
                "--tokens", str(arguments.tokens), "--dtype", arguments.dtype,
            ).splitlines()[-1]
        )  # fmt: skip
    title = (
        "{conversations} conversations, {tokens} tokens ({response_tokens} of responses), median {median}, longest {longest}; "
    )
    table = Table(
        "pass",
        "tokens/s",
        "signals : bare",
        "processor ms/token",
        "signals : bare",
        title=(title + "{dtype} on {device}, load {load:.1f}").format(**told),
    )
    mine = told["seconds"]["signals"]
    for name, (wall, processor) in told["seconds"].items():
        table.add_row(
            name,
            f"{told['tokens'] / wall:,.0f}",
            f"{wall / mine[0]:.2f}",
            f"{processor / told['tokens'] * 1e3:.2f}",
            f"{processor / mine[1]:.2f}",
        )
    Console(width=130).print(table)


def convert_weights(folder: Path) -> None:
    """Makes the default model's folder of weights."""
    run_model_side("-m", "headrace.lm.prepare", "--out", str(folder))


def run_model_side(*arguments: str) -> str:
    """What the model side's Python prints when it runs this."""
    environment = {"PYTHONPATH": f"{checkout() / 'libs'}", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        (str(model_python()), *arguments), cwd=checkout(), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout


if __name__ == "__main__":
    main()
