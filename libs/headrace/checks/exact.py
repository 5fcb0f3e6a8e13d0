r"""The response, its last line or its last \boxed{} is the reference answer, word for word."""

from pydantic import BaseModel, ConfigDict, Field

from headrace.checks._answers import final_answers, normalised
from headrace.checks._contract import CPU_S_MAX, Finding, Workers, failed, found, is_short, passed
from headrace.core.dossiers import Dossier
from headrace.core.samples import response_text

VERSION = 2


class Settings(BaseModel):
    """What a policy may set for `exact`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ignore_case: bool = Field(False, strict=True, description="Take upper and lower case for the same.")
    cpu_s_max: float = Field(
        2.0,
        ge=0.1,
        le=CPU_S_MAX,
        strict=True,
        description="Processor time for comparing long texts, seconds; then the check is not made.",
    )


def validate(_: Settings) -> None:
    """The bounds of the settings say it all."""


def applies(dossier: Dossier, _: Settings) -> bool:
    """Only where the sample's own reference is to be compared word for word."""
    reference = dossier.sample.reference
    return reference is not None and reference.verifier == "exact" and bool(reference.answer)


async def check(dossier: Dossier, settings: Settings, workers: Workers) -> Finding:
    """Compared here where the texts are short, else in a worker."""
    reference, response = dossier.sample.reference, response_text(dossier.sample)
    answer = reference.answer if reference is not None else ""
    if is_short(answer, response):
        return compared(answer, response, ignore_case=settings.ignore_case)
    request = {"reference": answer, "response": response, "ignore_case": settings.ignore_case}
    return found(await workers.run("exact", request, settings.cpu_s_max))


def compared(reference: str, response: str, *, ignore_case: bool) -> Finding:
    """Unicode form, runs of white space and a full stop at the end do not count."""
    wanted = normalised(reference, ignore_case=ignore_case)
    answers = final_answers(response)
    if any(normalised(answer, ignore_case=ignore_case) == wanted for answer in answers):
        return passed(f"the response is the reference {wanted!r}")
    return failed(f"the response ends in {answers[1]!r}, the reference is {wanted!r}")
