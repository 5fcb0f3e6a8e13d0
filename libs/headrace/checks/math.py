"""The response's final answer equals the reference answer, as mathematics."""

from pydantic import BaseModel, ConfigDict, Field

from headrace.checks._contract import CPU_S_MAX, Finding, Workers, found, not_made
from headrace.core.dossiers import Dossier
from headrace.core.samples import response_text

VERSION = 2


class Settings(BaseModel):
    """What a policy may set for `math`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    float_digits: int = Field(6, ge=1, le=15, strict=True, description="Decimal places to which floating-point answers agree.")
    response_chars_max: int = Field(
        32_768, ge=100, le=1_000_000, strict=True, description="Longer responses are not read: the check is not made."
    )
    cpu_s_max: float = Field(
        3.0,
        ge=0.1,
        le=CPU_S_MAX,
        strict=True,
        description="Processor time for one comparison, seconds; then the check is not made.",
    )


def validate(_: Settings) -> None:
    """The bounds of the settings say it all."""


def applies(dossier: Dossier, _: Settings) -> bool:
    """Only where the sample's own reference is to be verified as mathematics."""
    reference = dossier.sample.reference
    return reference is not None and reference.verifier == "math" and bool(reference.answer)


async def check(dossier: Dossier, settings: Settings, workers: Workers) -> Finding:
    """Compared by math-verify in a worker; an answer that makes it run away is a check that was not made."""
    reference, response = dossier.sample.reference, response_text(dossier.sample)
    if len(response) > settings.response_chars_max:
        return not_made(f"the response has {len(response)} characters, response_chars_max is {settings.response_chars_max}")
    request = {
        "reference": reference.answer if reference is not None else "",
        "response": response,
        "float_digits": settings.float_digits,
    }
    return found(await workers.run("math", request, settings.cpu_s_max))
