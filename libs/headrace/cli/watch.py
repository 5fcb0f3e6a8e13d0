"""`headrace watch` and `headrace account`: what the spine is doing, and how every sample ended."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from headrace.cli.options import AnyDataset, AsJson

if TYPE_CHECKING:
    from headrace.core.ledger import Account

app = typer.Typer()

_AT_THE_DOOR = "at_the_door"
_ALARMS = frozenset({"decided_again", "ended_unsubmitted"})

Every = Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")]


@app.command()
def watch(*, dataset: AnyDataset = "", every: Every = 1.0, as_json: AsJson = False) -> None:
    """Watch samples go through: rates, queues, decisions and reasons. Ctrl-C ends the watching and nothing else.

    Where the output is no terminal, each look is one line of text; with --json it is one line of JSON: the account, and how many
    records, within one or two for each partition, every queue is behind.
    """
    try:
        asyncio.run(_watch(dataset or None, every, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:  # who read our lines, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    return {**_told(counted), **door}


def _told(counted: "Account") -> dict[str, object]:
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
    }


async def _at_the_door(kafka: str, start_s: float) -> dict[str, int]:
    """Records in the intake topic that were not read yet or wait for another attempt, and its pending dead letters."""
    from headrace.adapters.kafka.record_lag import lags  # noqa: PLC0415
    from headrace.core.topics import (  # noqa: PLC0415
        CONSUMERS,
        INGEST,
        consumer_group_id,
        dlq_topic_name,
        retry_topic_name,
    )
    from headrace.runtime.delivery.redrive import pending  # noqa: PLC0415

    (gateway,) = CONSUMERS[INGEST.name]
    reader = (consumer_group_id(INGEST.name, gateway), [INGEST.name, retry_topic_name(INGEST.name, gateway)])
    waiting = sum(each.records for each in await lags(kafka, [reader], start_s=start_s))
    return {"waiting": waiting, "dead_lettered": await pending(kafka, dlq_topic_name(INGEST.name, gateway))}


def _line(account: "Account", behind: Mapping[str, int], *, as_json: bool) -> str:
    """One look as one line."""
    if as_json:
        return json.dumps({**_told(account), "behind": dict(behind)})
    names = ("submitted", "accepted", "rejected", "dead_lettered", "in_flight")
    ends = [f"{name.replace('_', ' ')} {getattr(account, name)}" for name in names]
    alarms = [f"{name.replace('_', ' ')} {getattr(account, name)}" for name in sorted(_ALARMS) if getattr(account, name)]
    return ", ".join([*ends, *alarms, *(f"{queue} {count} behind" for queue, count in behind.items() if count)])


async def _watch(dataset: str | None, every_s: float, *, as_json: bool) -> None:
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
        with KafkaAdmin(settings.kafka, start_s=settings.kafka_start_s) as admin, contextlib.ExitStack() as stack:
            view = LiveView(accounts, admin, dataset)
            live = stack.enter_context(Live(refresh_per_second=4)) if sys.stdout.isatty() and not as_json else None
            while True:
                account = await view.refresh()
                if live is not None:
                    live.update(view.render())
                else:
                    print(_line(account, view.behind(), as_json=as_json), flush=True)  # noqa: T201  # a line for each look
                await asyncio.sleep(every_s)
