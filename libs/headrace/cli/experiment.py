"""`headrace experiment`: whether signals and rounds do what they say."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()

_PREFIX = "HEADRACE_EXPERIMENT_"
_LOG_CHARS = 120
"""Width of the tables where there is no terminal."""


def _option(name: str, meaning: str, *, least: float | None = None, most: float | None = None) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{name}", envvar=f"{_PREFIX}{name.upper().replace('-', '_')}", help=meaning, min=least, max=most
    )
    return option


@app.command()
def experiment(
    *,
    rows: Annotated[int, _option("rows", "Rows of the data set, damaged ones included.", least=12)] = 40,
    held_out: Annotated[int, _option("held-out", "Rows of other problems, to measure what was learnt.", least=1)] = 8,
    chars_max: Annotated[int, _option("chars-max", "Only conversations of at most so many characters.", least=100)] = 1_300,
    damage_share: Annotated[float, _option("damage-share", "Share damaged in each of five ways.", least=0.01, most=0.19)] = 0.1,
    seed: Annotated[int, _option("seed", "Which rows, which damage; and the first seed of training.", least=0)] = 0,
    seeds: Annotated[int, _option("seeds", "Trainings of each arm, with seeds from --seed on.", least=1)] = 3,
    tokens_max: Annotated[int, _option("tokens-max", "Conversations are cut beyond so many tokens.", least=8)] = 640,
    train_tokens_max: Annotated[int, _option("train-tokens-max", "And for training beyond so many.", least=8)] = 224,
    steps: Annotated[int, _option("steps", "Optimizer steps of each training: choose one pass over the rows.", least=1)] = 10,
    batch_rows: Annotated[int, _option("batch-rows", "Conversations in one forward pass of training.", least=1)] = 2,
    accumulate: Annotated[int, _option("accumulate", "Forward passes of one step.", least=1)] = 2,
    learning_rate: Annotated[float, _option("learning-rate", "Peak learning rate of the LoRA adapter, above 0.")] = 5e-4,
    rewrites_max: Annotated[int, _option("rewrites-max", "Selected rows rewritten at most, furthest ones first.", least=1)] = 6,
    attempts: Annotated[int, _option("attempts", "Attempts at each rewrite.", least=1, most=15)] = 1,
    reply_tokens_max: Annotated[int, _option("reply-tokens-max", "Tokens of a new prompt, and of its answer.", least=16)] = 512,
    side_by_side: Annotated[int, _option("side-by-side", "Trainings at a time.", least=1)] = 2,
    device: Annotated[Literal["auto", "cpu", "cuda"], _option("device", "Where the model runs.")] = "auto",
    model: Annotated[Path | None, _option("model", "Folder of the model's weights; unset: SmolLM2-135M-Instruct.")] = None,
    folder: Annotated[Path | None, _option("folder", "Where files go; unset: a new one below .headrace/experiments.")] = None,
    controls: Annotated[bool, typer.Option("--controls/--planted-only", help="Both experiments, or the first alone.")] = True,
) -> None:
    """Measure what the signals find, and what a round changes, on real conversations with known damage.

    First: right answers to competition problems, of which a tenth each get another problem's answer, a truncated answer, a
    garbled prompt, a slightly edited copy of another row, or small talk. A model is fine-tuned on all of it; then every row
    is measured as a round's survey does, and a table tells how well each axis separates each kind of damage from clean rows.

    Second: the model is trained from the base on that data set; on what a round makes of it; on it with as many random rows
    rewritten without a test; and with as many rows removed, random ones or those that the signals selected. The loss on
    held-out problems is compared over seeds.

    No stack is needed. Rewrites are written by the endpoint in HEADRACE_CHAT_URL, or, if that is unset, by a small model that is
    started for it. A larger model on a GPU: --model FOLDER --device cuda --rows 80 --held-out 30 --steps 20.
    """
    from rich.console import Console  # noqa: PLC0415

    from headrace.cli.failures import CannotDo  # noqa: PLC0415
    from headrace.experiment.model_side import ModelSideFailed, require_device  # noqa: PLC0415
    from headrace.experiment.play import open_folder, play  # noqa: PLC0415
    from headrace.experiment.settings import Setup  # noqa: PLC0415
    from headrace.experiment.telling import Tell  # noqa: PLC0415
    from headrace.local.checkout import model_python  # noqa: PLC0415

    setup = Setup(
        rows=rows, held_out=held_out, chars_max=chars_max, damage_share=damage_share, seed=seed, seeds=seeds,
        tokens_max=tokens_max, train_tokens_max=train_tokens_max, steps=steps, batch_rows=batch_rows, accumulate=accumulate,
        learning_rate=learning_rate, rewrites_max=rewrites_max, attempts=attempts, reply_tokens_max=reply_tokens_max,
        side_by_side=side_by_side, device=device, model=model,
    )  # fmt: skip
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_CHARS)
    try:
        require_device(setup.device, model_python())
        path = play(setup, open_folder(folder), Tell(console), controls=controls)
    except ModelSideFailed as error:
        raise CannotDo(str(error)) from error
    console.print(f"all numbers and settings: {path}", soft_wrap=True)
