"""`headrace watch` and `headrace account`: what the spine is doing, and how every sample ended."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

app = typer.Typer()

Dataset = Annotated[str, typer.Option(help="One dataset; all of them where none is named.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Every = Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")]


@app.command()
def watch(*, dataset: Dataset = "", every: Every = 1.0) -> None:
    """Watch samples go through: rates, queues, decisions and reasons. Ctrl-C ends the watching and nothing else."""
    try:
        asyncio.run(_watch(dataset or None, every))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def account(*, dataset: Dataset = "", as_json: AsJson = False) -> None:
    """Count how every sample ended: submitted = accepted + rejected + dead-lettered + in flight.

    Counted from the topics, so it covers what they still retain (7 days unless set otherwise).
    """
    from headrace.adapters.kafka import BrokerUnreachable  # noqa: PLC0415
    from headrace.core.events import Stop  # noqa: PLC0415

    try:
        counted = asyncio.run(_account(dataset or None))
    except (BrokerUnreachable, Stop) as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}")
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(counted))
        return
    for name, value in counted.items():
        if isinstance(value, dict):
            for part, count in value.items():
                typer.echo(f"  {part:32} {count:>8}")
        else:
            typer.echo(f"{name:34} {value:>8}")


async def _account(dataset: str | None) -> dict[str, object]:
    from headrace.adapters.accounts import Accounts  # noqa: PLC0415
    from headrace.runtime.large_bodies import large_bodies  # noqa: PLC0415
    from headrace.runtime.settings import DeliverySettings, RuntimeSettings  # noqa: PLC0415

    async with aclosing(large_bodies(DeliverySettings())) as bodies, Accounts.opened(RuntimeSettings().kafka, bodies) as accounts:
        counted = (await accounts.catch_up()).account(dataset)
    fields = asdict(counted)
    return {
        "submitted": counted.submitted,
        "accepted": counted.accepted,
        "rejected": counted.rejected,
        "reasons": fields["reasons"],
        "dead_lettered": counted.dead_lettered,
        "dead_letters_by_service": fields["dead_letters_by_service"],
        "in_flight": counted.in_flight,
    }


async def _watch(dataset: str | None, every_s: float) -> None:
    from headrace.adapters.accounts import Accounts  # noqa: PLC0415
    from headrace.adapters.kafka_admin import KafkaAdmin  # noqa: PLC0415
    from headrace.cli.live import LiveView  # noqa: PLC0415
    from headrace.runtime.large_bodies import large_bodies  # noqa: PLC0415
    from headrace.runtime.settings import DeliverySettings, RuntimeSettings  # noqa: PLC0415

    kafka = RuntimeSettings().kafka
    async with aclosing(large_bodies(DeliverySettings())) as bodies, Accounts.opened(kafka, bodies) as accounts:
        with KafkaAdmin(kafka) as admin, Live(refresh_per_second=4) as live:
            view = LiveView(accounts, admin, dataset)
            while True:
                await view.refresh()
                live.update(view.render())
                await asyncio.sleep(every_s)
