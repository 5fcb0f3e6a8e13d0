"""`headrace watch` and `headrace account`: what the spine is doing, and how every sample ended."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.live import Live

from headrace.cli.options import AnyDataset, AsJson

app = typer.Typer()

Every = Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")]


@app.command()
def watch(*, dataset: AnyDataset = "", every: Every = 1.0) -> None:
    """Watch samples go through: rates, queues, decisions and reasons. Ctrl-C ends the watching and nothing else."""
    try:
        asyncio.run(_watch(dataset or None, every))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def account(*, dataset: AnyDataset = "", as_json: AsJson = False) -> None:
    """Count how every sample ended: submitted = accepted + rejected + dead-lettered + in flight.

    What was retracted since stays among the accepted, and is counted apart.

    Counted from the topics, so it covers what they still retain (7 days unless set otherwise).
    """
    counted = asyncio.run(_account(dataset or None))
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
    from headrace.adapters.kafka.accounts import Accounts  # noqa: PLC0415
    from headrace.runtime.large_bodies import large_bodies  # noqa: PLC0415
    from headrace.runtime.settings import DeliverySettings, RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    async with (
        aclosing(large_bodies(DeliverySettings())) as bodies,
        Accounts.opened(settings.kafka, bodies, start_s=settings.kafka_start_s) as accounts,
    ):
        counted = (await accounts.catch_up()).account(dataset)
    fields = asdict(counted)
    return {
        "submitted": counted.submitted,
        "accepted": counted.accepted,
        "retracted": counted.retracted,
        "rejected": counted.rejected,
        "reasons": fields["reasons"],
        "dead_lettered": counted.dead_lettered,
        "dead_letters_by_service": fields["dead_letters_by_service"],
        "in_flight": counted.in_flight,
    }


async def _watch(dataset: str | None, every_s: float) -> None:
    from headrace.adapters.kafka.accounts import Accounts  # noqa: PLC0415
    from headrace.adapters.kafka.admin import KafkaAdmin  # noqa: PLC0415
    from headrace.cli.live import LiveView  # noqa: PLC0415
    from headrace.runtime.large_bodies import large_bodies  # noqa: PLC0415
    from headrace.runtime.settings import DeliverySettings, RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    async with (
        aclosing(large_bodies(DeliverySettings())) as bodies,
        Accounts.opened(settings.kafka, bodies, start_s=settings.kafka_start_s) as accounts,
    ):
        with KafkaAdmin(settings.kafka, start_s=settings.kafka_start_s) as admin, Live(refresh_per_second=4) as live:
            view = LiveView(accounts, admin, dataset)
            while True:
                await view.refresh()
                live.update(view.render())
                await asyncio.sleep(every_s)
