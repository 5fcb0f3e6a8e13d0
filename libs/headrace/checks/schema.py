"""The response is one JSON document that its JSON Schema allows."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from headrace.checks._contract import CPU_S_MAX, Finding, Workers, failed, found
from headrace.core.dossiers import Dossier
from headrace.core.samples import response_text

VERSION = 2


class Settings(BaseModel):
    """What a policy may set for `schema`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    json_schema: dict[str, Any] | None = Field(
        None, description="The schema of responses whose sample brings none of its own; null checks only those that do."
    )
    chars_max: int = Field(262_144, ge=2, le=4_194_304, strict=True, description="Longer responses fail.")
    depth_max: int = Field(64, ge=1, le=256, strict=True, description="Responses nested deeper fail.")
    cpu_s_max: float = Field(
        2.0,
        ge=0.1,
        le=CPU_S_MAX,
        strict=True,
        description="Processor time for one validation, seconds; then the check is not made.",
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
    """Read and validated in a worker: a schema's `pattern` is a backtracking regular expression that may run away."""
    text = response_text(dossier.sample)
    if len(text) > settings.chars_max:
        return failed(f"the response has {len(text)} characters, chars_max is {settings.chars_max}")
    reference = dossier.sample.reference
    request = {
        "response": text,
        "depth_max": settings.depth_max,
        "own_schema": reference.json_schema if reference is not None else "",
        "schema": settings.json_schema,
    }
    return found(await workers.run("schema", request, settings.cpu_s_max))
