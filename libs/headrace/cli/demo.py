"""`headrace demo`: real conversations through the real parts."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()

Samples = Annotated[int, typer.Option(min=4, max=2_000, help="How many conversations go in; scoring takes most of the time.")]
Seed = Annotated[int, typer.Option(help="Which ones: the same seed, the same conversations in the same order.")]
NoRound = Annotated[bool, typer.Option("--no-round", help="Leave the round out: half the time.")]


@app.command()
def demo(*, samples: Samples = 96, seed: Seed = 0, no_round: NoRound = False) -> None:
    """Run real conversations through the stack that is up, and tell what came of them.

    Competition mathematics answered by language models. For half of the problems the reference answer goes in with the
    sample; for the other half it is kept back and used for the closing table only. Then a version is cut, the trainer takes it,
    and its checkpoint is rolled out. At last a whole round: the model surveys the version, what it cannot learn from is
    rewritten, and the next version is trained on and judged. Needs `headrace up` first.

    `make demo ARGS="--samples 24 --no-round"` passes options on.
    """
    from headrace.cli.sample import show  # noqa: PLC0415
    from headrace.demo.play import play  # noqa: PLC0415

    console = Console()
    played = asyncio.run(play(console, count=samples, seed=seed, with_round=not no_round))
    if played.rejected_id:
        console.rule("One that was turned away")
        show(played.rejected_id, played.dataset)
    console.rule("Look further")
    for command in _further(played.dataset, played.rejected_id):
        console.print(f"  {command}", highlight=False, soft_wrap=True)


def _further(dataset: str, rejected_id: str) -> list[str]:
    return [
        f"headrace sample show {rejected_id or 'ID'} --dataset {dataset}",
        f"headrace dataset show {dataset}",
        f"headrace policy init > policy.yaml && headrace replay --dataset {dataset} -f policy.yaml",
        "headrace checkpoint ls    headrace checkpoint show ID    headrace checkpoint rollback",
        f"headrace round status {dataset}    headrace round report {dataset}    headrace round start {dataset}",
        f"headrace dataset export {dataset} FOLDER --format messages",
        "headrace account    headrace watch    headrace lag    headrace dlq ls    headrace status",
        "headrace down       (and `headrace up` finds everything again)",
    ]
