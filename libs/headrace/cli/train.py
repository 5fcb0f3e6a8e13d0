"""`headrace train`: the reference trainer."""

import asyncio
import importlib
import json
import time
from collections.abc import Callable
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.failures import CannotDo
from headrace.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.core.checkpoints import CheckpointPublished
    from headrace.core.fine_tuning import Progress

app = typer.Typer()

_LINE_S = 10.0
"""Without a terminal, a line of progress at most so often."""

Start = Annotated[
    str,
    typer.Option("--version", help="A version's number, tag or id, or the beginning of an id; the latest if left out."),
]


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id.")],
    *,
    version: Start = "",
    follow: Annotated[bool, typer.Option("--follow", help="Train again each time enough was accepted, until stopped.")] = False,
    every: Annotated[int | None, typer.Option("--every", min=1, help="With --follow: after so many accepted samples.")] = None,
    every_s: Annotated[
        float | None, typer.Option("--every-s", min=1, help="With --follow: after so many seconds, if anything is new.")
    ] = None,
    versions: Annotated[
        bool,
        typer.Option("--versions", help="Train on each new version as it is committed, until stopped: what rounds wait for."),
    ] = False,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="With --follow or --versions: stop after so many runs.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps of a run.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of a LoRA adapter.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the model on a dataset's accepted samples and publish the checkpoint.

    Takes a version, or with --follow the accepted stream: from the beginning, or from --version on. What the policy holds out
    (`training.held_out_share`) is measured before and after. A killed run is resumed by the same command, and a run that was
    published is not done again. All settings: HEADRACE_TRAINER_* (services/trainer/settings.py).

    With --versions it waits for versions and trains on each, always from the same base with the same hyper-parameters: on what
    a round waits for, else on the latest, however many came meanwhile. A version that has a checkpoint is not trained again, by
    whomever. With it running rounds go on by themselves, and with the policy's `rounds.start: checkpoint` they begin so, too.
    """
    if versions and (follow or version or every is not None or every_s is not None):
        raise CannotDo("--versions takes each version as it comes: without --version, --follow, --every and --every-s")
    if not follow and (every is not None or every_s is not None):
        raise CannotDo("--every and --every-s say when to train again: with --follow")
    if rounds is not None and not (follow or versions):
        raise CannotDo("--rounds counts runs: with --follow or --versions")
    from headrace.local.checkout import checkout  # noqa: PLC0415

    checkout()  # the trainer is no part of the wheel
    training = importlib.import_module("services.trainer.training")
    chosen = {"steps": steps, "full": full or None, "every_rows": every, "every_s": every_s}
    settings = training.TrainerSettings(**{name: value for name, value in chosen.items() if value is not None})
    try:
        with shown(as_json=as_json) as show:
            if versions:
                asyncio.run(_follow(training.follow_versions(dataset, settings, show), rounds, as_json=as_json))
            elif follow:
                asyncio.run(_follow(training.follow(dataset, version or "beginning", settings, show), rounds, as_json=as_json))
            else:
                _tell(asyncio.run(training.train_version(dataset, version, settings, show)), as_json=as_json)
    except training.CannotTrain as error:
        raise CannotDo(str(error)) from error


async def _follow(checkpoints: Any, rounds: int | None, *, as_json: bool) -> None:
    async with aclosing(checkpoints):
        done = 0
        async for published in checkpoints:
            _tell(published, as_json=as_json)
            done += 1
            if done == rounds:
                return


@contextmanager
def shown(*, as_json: bool) -> "Iterator[Callable[[Progress], None]]":
    """Shows progress on standard error: a bar on a terminal, else a line now and then; nothing where JSON is asked for."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        yield _Lines(quiet=as_json)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("gathering", total=None)

        def show(progress: "Progress") -> None:
            loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
            bar.update(task, description=f"{progress.stage}{loss}", completed=progress.step, total=progress.steps or None)

        yield show


class _Lines:
    """Progress as lines, for a log."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._shown_at = 0.0

    def __call__(self, progress: "Progress") -> None:
        now = time.monotonic()
        if self._quiet or (progress.stage == self._stage and now - self._shown_at < _LINE_S and progress.step < progress.steps):
            return
        self._stage, self._shown_at = progress.stage, now
        step = f" {progress.step} of {progress.steps}, loss {progress.loss:.3f}" if progress.loss is not None else ""
        typer.echo(f"{progress.stage}{step}", err=True)


def _tell(published: "CheckpointPublished", *, as_json: bool) -> None:
    data, metrics = published.data, published.metrics
    if as_json:
        told = {"checkpoint": published.checkpoint_id, "model": published.model, "rows": data.rows_trained, **metrics}
        typer.echo(json.dumps(told))
        return
    typer.echo(f"checkpoint {published.checkpoint_id[:12]} of {published.model} ({published.kind}), {data.rows_trained} samples")
    before, after = metrics.get("held_out_loss_before"), metrics.get("held_out_loss_after")
    if before is not None and after is not None:
        typer.echo(f"held-out loss {before:.3f} before, {after:.3f} after ({metrics['rows_measured']:.0f} samples)")
