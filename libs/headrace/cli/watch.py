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

_AT_THE_DOOR = "at_the_door"
_ALARMS = frozenset({"decided_again", "ended_unsubmitted"})

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

    What was retracted since stays among the accepted, and is counted apart. Two more lines appear where the sum does not close:
    decided_again (more ends than submissions) and ended_unsubmitted (an end without a submission: lost, or older than the topic
    retains). at_the_door counts the records in headrace.ingest that wait, and those among its dead letters: they are no samples
    yet, and are left out where a dataset is named.

    Counted from the topics, so it covers what they still retain (7 days unless set otherwise).
    """
    counted = asyncio.run(_account(dataset or None))
    if as_json:
        typer.echo(json.dumps(counted))
        return
    for name, value in counted.items():
        if isinstance(value, dict):
            if name == _AT_THE_DOOR:
                typer.echo(f"{name} (not in the sum)")
            for part, count in value.items():
                typer.echo(f"  {part:32} {count:>8}")
        elif value or name not in _ALARMS:
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
    door = {} if dataset else {_AT_THE_DOOR: await _at_the_door(settings.kafka, settings.kafka_start_s)}
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
        "decided_again": counted.decided_again,
        "ended_unsubmitted": counted.ended_unsubmitted,
        **door,
    }


async def _at_the_door(kafka: str, start_s: float) -> dict[str, int]:
    """Records in the intake topic that were not read yet or wait for another attempt, and its dead letters not redriven."""
    from headrace.adapters.kafka.record_lag import lags  # noqa: PLC0415
    from headrace.core.topics import (  # noqa: PLC0415
        CONSUMERS,
        INGEST,
        consumer_group_id,
        dlq_topic_name,
        retry_topic_name,
    )
    from headrace.runtime.delivery.redrive import REDRIVE_GROUP  # noqa: PLC0415

    (gateway,) = CONSUMERS[INGEST.name]
    reader = (consumer_group_id(INGEST.name, gateway), [INGEST.name, retry_topic_name(INGEST.name, gateway)])
    letters = (REDRIVE_GROUP, [dlq_topic_name(INGEST.name, gateway)])
    found = await lags(kafka, [reader, letters], start_s=start_s)
    dead = sum(each.records for each in found if each.group == REDRIVE_GROUP)
    return {"waiting": sum(each.records for each in found) - dead, "dead_lettered": dead}


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
