"""The judge from logits against the generating one, and a survey against the authors' way: `python -m tests.bench.bench_judge`.

The samples are real problems with language models' answers (champ-dataset), one a problem, short ones, judged by the default
model. *Agreement* is Spearman's rank correlation of the two judges' scores. *Survey* is what this system does for a row whose
base loss is known: one pass for loss and embeddings, one for six scores. *The authors' way* is two passes for losses, one over
the prompt alone, and six texts, written to their end or to `--new-tokens`; all six of a sample are written side by side, which is
kinder than the authors' six runs. Where texts had not ended there, the cost up to 1,024 tokens is extrapolated from the time of a
token, and the table says so. Processor seconds hardly depend on what else the machine does; wall seconds stand beside them.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.local.cache import once
from headrace.local.signals import WEIGHTS
from tests.bench.bench_signals import conversations, convert_weights, run_model_side

SCRIPT = "tests/model/judge_costs.py"
_CHARACTERS_MAX = 900
_PAPER_NEW_TOKENS = 1024


def samples(count: int) -> list[dict[str, Any]]:
    """Short conversations, each about another problem."""
    chosen: dict[str, dict[str, Any]] = {}
    for conversation in conversations():
        if len(json.dumps(conversation)) < _CHARACTERS_MAX:
            chosen.setdefault(conversation["messages"][-2]["content"], conversation)
    return list(chosen.values())[:count]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--written", type=int, default=2, help="samples surveyed the authors' way")
    parser.add_argument("--new-tokens", type=int, default=48, help="where the authors' texts are cut off; theirs: 1024")
    arguments = parser.parse_args()
    weights = once(WEIGHTS, convert_weights)
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "conversations.json"
        texts.write_text(json.dumps(samples(arguments.samples)))
        told = json.loads(
            run_model_side(
                SCRIPT, "--weights", str(weights), "--conversations", str(texts), "--samples", str(arguments.samples),
                "--written", str(arguments.written), "--new-tokens", str(arguments.new_tokens),
            ).splitlines()[-1]
        )  # fmt: skip
    console = Console(width=130)
    console.print(_agreement(told))
    console.print(_survey(told))


def _agreement(told: dict[str, Any]) -> Table:
    title = "{samples} samples, {dtype} on {device}, load {load:.1f}; score tokens had {mass_mean:.2f} of the probability, "
    title += (
        "{mass_least:.2f} at least; rank correlation {correlation_scores:.2f} of scores, {correlation_quality:.2f} of quality"
    )
    table = Table("judge", "processor s/sample", "wall s/sample", "times logits", "spread of scores", title=title.format(**told))
    unit = told["judge_seconds"]["logits"][1]
    for mode, (wall, processor) in told["judge_seconds"].items():
        per = told["samples"]
        spread = told["spread"][mode]
        table.add_row(mode, f"{processor / per:.2f}", f"{wall / per:.2f}", f"{processor / unit:.1f}", f"{spread:.2f}")
    return table


def _survey(told: dict[str, Any]) -> Table:
    spent = told["seconds"]
    ours = _sum(spent["signals"], spent["judge_logits"])
    passes = _sum(spent["signals"], spent["signals"], spent["prompts"])
    theirs = _sum(passes, spent["written"])
    rows = {
        "survey: signals and judge from logits": ours,
        "the same, base loss not known": _sum(ours, spent["signals"]),
        f"authors' way, texts of at most {told['new_tokens']} tokens": theirs,
    }
    if told["unfinished"] and told["new_tokens"] < _PAPER_NEW_TOKENS:
        further = (_PAPER_NEW_TOKENS - told["new_tokens"]) / (told["new_tokens"] - 1)
        name = f"extrapolated to {_PAPER_NEW_TOKENS:,}: {told['unfinished']} of {told['texts']} texts had not ended"
        longer = [further * (end - start) for end, start in zip(spent["written"], spent["first_word"], strict=True)]
        rows[name] = _sum(theirs, longer)
    table = Table("way", "processor s", "wall s", "times survey", title="{surveyed} samples, {tokens} tokens".format(**told))
    for name, (wall, processor) in rows.items():
        table.add_row(name, f"{processor:.1f}", f"{wall:.1f}", f"{processor / ours[1]:.1f}")
    return table


def _sum(*parts: list[float]) -> list[float]:
    return [sum(column) for column in zip(*parts, strict=True)]


if __name__ == "__main__":
    main()
