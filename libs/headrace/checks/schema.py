"""The response is one JSON document that its JSON Schema allows."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from headrace.checks._contract import Finding, Workers, failed, not_made
from headrace.checks._json import NotStrictJson, read
from headrace.core.dossiers import CheckOutcome, Dossier
from headrace.core.samples import response_text

VERSION = 1

_SCHEMA_DEPTH_MAX = 64


class Settings(BaseModel):
    """What a policy may set for `schema`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    json_schema: dict[str, Any] | None = Field(
        None, description="The schema of responses whose sample brings none of its own; null checks only those that do."
    )
    chars_max: int = Field(262_144, ge=2, le=4_194_304, strict=True, description="Longer responses fail.")
    depth_max: int = Field(64, ge=1, le=256, strict=True, description="Responses nested deeper fail.")
    cpu_s_max: float = Field(
        2.0, ge=0.1, le=5, strict=True, description="Processor time for one validation, seconds; then the check is not made."
    )


def validate(settings: Settings) -> None:
    """See that the schema is one."""
    if settings.json_schema is not None:
        from headrace.checks._schema_task import problem_of_schema  # noqa: PLC0415 - jsonschema is in an extra

        problem = problem_of_schema(settings.json_schema)
        if problem:
            raise ValueError(f"json_schema {problem}")


def applies(dossier: Dossier, settings: Settings) -> bool:
    """Where the sample's reference has a schema, or the policy has one for all."""
    reference = dossier.sample.reference
    return settings.json_schema is not None or (reference is not None and bool(reference.json_schema))


async def check(dossier: Dossier, settings: Settings, workers: Workers) -> Finding:
    """Validated in a worker: a schema's `pattern` is a backtracking regular expression that may run away."""
    text = response_text(dossier.sample)
    if len(text) > settings.chars_max:
        return failed(f"the response has {len(text)} characters, chars_max is {settings.chars_max}")
    try:
        document = read(text, depth_max=settings.depth_max)
    except NotStrictJson as error:
        return failed(f"the response is not strict JSON: {error}")
    reference = dossier.sample.reference
    try:
        own = reference.json_schema if reference is not None else ""
        schema = read(own, depth_max=_SCHEMA_DEPTH_MAX) if own else settings.json_schema
    except NotStrictJson as error:
        return not_made(f"the sample's own schema is not strict JSON: {error}")
    reply = await workers.run("schema", {"schema": schema, "document": document}, settings.cpu_s_max)
    return Finding(CheckOutcome(reply["outcome"]), str(reply["evidence"]))
