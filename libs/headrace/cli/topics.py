"""`headrace topics`: what the registry names, what the broker has, and the document of it all."""

import json
from typing import Annotated

import typer

from headrace.cli.options import AsJson

app = typer.Typer(name="topics", help="List, create and document the Kafka topics.", no_args_is_help=True)


@app.command("ls")
def list_topics(*, as_json: AsJson = False) -> None:
    """List the topics of the registry with their keys and readers, and whether the broker has them."""
    from headrace.adapters.kafka.admin import KafkaAdmin  # noqa: PLC0415
    from headrace.core.topics import CONSUMERS, TOPICS  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    with KafkaAdmin(settings.kafka, start_s=settings.kafka_start_s) as admin:
        existing = admin.topics()
    known = {topic.name: topic for topic in TOPICS}
    rows = [
        {
            "topic": name,
            "partitions": existing.get(name, 0),
            "keyed_by": str(known[name].keyed_by) if name in known else None,
            "readers": list(CONSUMERS.get(name, ())),
            "summary": known[name].summary if name in known else None,
        }
        for name in [*known, *(name for name in existing if name not in known)]
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        where = f"{row['partitions']} partitions" if row["partitions"] else "missing"
        typer.echo(f"{row['topic']:<52} {where:<14} {row['summary'] or ''}")


@app.command()
def create(
    accepted: Annotated[list[str] | None, typer.Option(help="Also the accepted topic of this dataset; may be repeated.")] = None,
) -> None:
    """Create every topic that is missing, with HEADRACE_PARTITIONS and HEADRACE_REPLICATION_FACTOR.

    Existing ones stay, but are given the limits that readers rely on: a batch's size, and that the broker unpacks it.
    """
    from headrace.adapters.kafka.admin import KafkaAdmin  # noqa: PLC0415
    from headrace.core.topics import accepted_topic  # noqa: PLC0415
    from headrace.runtime.settings import RuntimeSettings  # noqa: PLC0415

    settings = RuntimeSettings()
    partitions, replicas = settings.partitions, settings.replication_factor
    with KafkaAdmin(settings.kafka, start_s=settings.kafka_start_s) as admin:
        ensured = admin.ensure_topics(partitions=partitions, replication_factor=replicas)
        datasets = [
            each
            for each in accepted or ()
            if admin.create_accepted_topic(each, partitions=partitions, replication_factor=replicas)
        ]
    created = [*ensured.created, *(accepted_topic(dataset).name for dataset in datasets)]
    for name in created:
        typer.echo(f"created {name}")
    for name, given in ensured.changed.items():
        told = ", ".join(f"{key}={value}" for key, value in given.items())
        typer.echo(f"changed {name}: {told}, for what is written from now on")
    typer.echo(f"{len(created)} created, {len(ensured.changed)} changed, the others were there")


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of all topics, as JSON."""
    from headrace.adapters.asyncapi.document import document  # noqa: PLC0415

    typer.echo(json.dumps(document(), indent=2))
