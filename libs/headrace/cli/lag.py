"""`headrace lag`: how many records every service has still before it."""

import asyncio
import json
from collections import defaultdict
from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, by partition.")]


@app.command()
def lag(*, as_json: AsJson = False) -> None:
    """Show how many records each service has still to read of each topic.

    Records are counted, not offsets: every transaction leaves a marker that takes an offset, so that offsets never reach zero.
    Beyond 10,000 records a partition's figure is an estimate, marked ~.
    """
    from headrace.adapters.kafka.record_lag import lags  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    found = asyncio.run(lags(settings.kafka, start_s=settings.kafka_start_s))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    records: dict[tuple[str, str], int] = defaultdict(int)
    exact: dict[tuple[str, str], bool] = defaultdict(lambda: True)
    for each in found:
        of = (each.group.partition(".")[0], each.topic)
        records[of] += each.records
        exact[of] &= each.exact
    for (service, topic), count in records.items():
        typer.echo(f"{service:<12} {topic:<52} {'' if exact[service, topic] else '~'}{count}")
