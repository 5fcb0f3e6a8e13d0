"""The judge from logits against the generating one, and a survey against the authors' way: `python -m tests.bench.bench_judge`.

The samples are real problems with language models' answers (champ-dataset), one a problem, short ones, judged by the default
model. All is measured in one run, and nothing is extrapolated.

*Agreement* is Spearman's rank correlation of the two judges, of each score and of the mean of the six, with the 95% interval of a
bootstrap over samples. A judge of 135 million parameters is barely one: that the two agree says little of either, and how well
they agree with a larger model is another question. Generated texts end here behind their first number, as they do in service.

*Survey* is what this system does for a row: one pass for loss and embeddings, one for the base model's loss unless that is
known, and six scores from one pass over the sample and six questions. *The authors' way* is two passes for losses, one over
the prompt alone, and six texts by their decoding, each to its own end or to `--new-tokens`. It is measured kindly: without
padding, all texts of all samples side by side, and one that has ended costs nothing further. A small model seldom ends a
text, a larger one does after a hundred words or so; therefore the same run also tells what had been spent when the texts
were so long. *Tokens* are those that go through the model: the ratio that is left where a written token costs no more than
one that is read.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from headrace.core.dossiers import JUDGED
from headrace.core.rounds.surveys import Judge
from headrace.local.cache import once
from headrace.local.signals import WEIGHTS
from tests.bench.bench_signals import conversations, convert_weights, run_model_side
from tests.bench.rank_correlation import Numbers, bootstrap_interval, rank_correlation

SCRIPT = "tests/model/judge_costs.py"
_CHARACTERS_MAX = 900
_LENGTHS = (1, 16, 64, 128, 256, 512)


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
    parser.add_argument("--samples", type=int, default=64, help="judged both ways; there are 139")
    parser.add_argument("--surveyed", type=int, default=2, help="of those, surveyed both ways")
    parser.add_argument("--new-tokens", type=int, default=1024, help="where the authors' texts are cut off; theirs: 1024")
    arguments = parser.parse_args()
    weights = once(WEIGHTS, convert_weights)
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "conversations.json"
        texts.write_text(json.dumps(samples(arguments.samples)))
        told = json.loads(
            run_model_side(
                SCRIPT, "--weights", str(weights), "--conversations", str(texts), "--samples", str(arguments.samples),
                "--surveyed", str(arguments.surveyed), "--new-tokens", str(arguments.new_tokens),
            ).splitlines()[-1]
        )  # fmt: skip
    console = Console(width=130)
    console.print(_survey(told["survey"], told["clock"]))
    console.print(_agreement(told["agreement"], told["clock"]))
    console.print("{dtype} on {device}, load {load:.1f}".format(**told))


def _survey(told: dict[str, Any], clock: str) -> Table:
    tokens, seconds, texts = told["tokens"], told["seconds"], told["texts"]
    unit = _sum(tokens, "signals", "base", "judge"), _sum(seconds, "signals", "base", "judge")
    title = f"{told['samples']} samples, {tokens['signals']} tokens together; {_ends(texts['lengths'])}"
    table = Table("way", "tokens read", "written", clock, "times survey", "in tokens", title=title)

    def add(name: str, read: int, written: int, spent: float) -> None:
        factors = spent / unit[1], (read + written) / unit[0]
        table.add_row(name, f"{read:,}", f"{written:,}", f"{spent:.1f}", *(f"{factor:.1f}" for factor in factors))

    add("survey: signals, base loss, judge from logits", unit[0], 0, unit[1])
    add("the same, base loss known", unit[0] - tokens["base"], 0, unit[1] - seconds["base"])
    add("of it the judge", tokens["judge"], 0, seconds["judge"])
    read = _sum(tokens, "signals", "base", "prompts") + texts["asked_tokens"]
    passes = _sum(seconds, "signals", "base", "prompts")
    for name, written, spent in _stages(texts["course"]):
        add(name, read, written, passes + spent)
    return table


def _stages(course: list[tuple[int, int, float]]) -> Iterator[tuple[str, int, float]]:
    """What had been written and spent when the texts were so long, and in the end."""
    for length, written, spent in course:
        if length in _LENGTHS and length < course[-1][0]:
            yield f"authors' way, texts cut behind token {length}", written, spent
    _, written, spent = course[-1]
    yield "authors' way, texts whole", written, spent


def _ends(lengths: list[int]) -> str:
    return f"{len(lengths)} texts of {min(lengths):,} to {max(lengths):,} tokens, median {np.median(lengths):,.0f}"


def _agreement(told: dict[str, Any], clock: str) -> Table:
    per, masses = told["asked"], told["masses"]
    logits, generated = (told["seconds"][mode] / per for mode in (Judge.LOGITS, Judge.GENERATED))
    spent = f"{clock} a sample: logits {logits:.2f}, generated {generated:.2f}, {generated / logits:.1f} times"
    mass = f"score tokens had {np.mean(masses):.2f} of the probability, {min(masses):.2f} at least"
    table = Table(
        "score", "rank correlation", "95% interval", "logits: mean, deviation", "generated: mean, deviation", "values",
        title=f"{told['samples']} samples; {spent}; {mass}",
    )  # fmt: skip
    scores = {mode: np.array(rows) for mode, rows in told["scores"].items()}
    for place, name in enumerate(JUDGED):
        table.add_row(name, *_compared(*(rows[:, place] for rows in scores.values())))
    table.add_row("mean of the six", *_compared(*(rows.mean(axis=1) for rows in scores.values())))
    return table


def _compared(logits: Numbers, generated: Numbers) -> Iterator[str]:
    low, high = bootstrap_interval(logits, generated)
    yield f"{rank_correlation(logits, generated):.2f}"
    yield f"{low:.2f} to {high:.2f}"
    for scores in (logits, generated):
        yield f"{scores.mean():.2f}, {scores.std():.2f}"
    yield str(len(np.unique(generated.round(3))))


def _sum(numbers: dict[str, Any], *names: str) -> Any:
    return sum(numbers[name] for name in names)


if __name__ == "__main__":
    main()
