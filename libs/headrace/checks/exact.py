r"""The response, its last line or its last \boxed{} is the reference answer, word for word."""

from pydantic import BaseModel, ConfigDict, Field

from headrace.checks._answers import final_answers, normalised
from headrace.checks._contract import Finding, Workers, failed, passed
from headrace.core.dossiers import Dossier
from headrace.core.samples import response_text

VERSION = 1


class Settings(BaseModel):
    """What a policy may set for `exact`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ignore_case: bool = Field(False, strict=True, description="Take upper and lower case for the same.")


def validate(_: Settings) -> None:
    """The bounds of the settings say it all."""


def applies(dossier: Dossier, _: Settings) -> bool:
    """Only where the sample's own reference is to be compared word for word."""
    reference = dossier.sample.reference
    return reference is not None and reference.verifier == "exact" and bool(reference.answer)


async def check(dossier: Dossier, settings: Settings, _: Workers) -> Finding:
    """Unicode form, runs of white space and a full stop at the end do not count."""
    reference = dossier.sample.reference
    wanted = normalised(reference.answer if reference is not None else "", ignore_case=settings.ignore_case)
    answers = final_answers(response_text(dossier.sample))
    if any(normalised(answer, ignore_case=settings.ignore_case) == wanted for answer in answers):
        return passed(f"the response is the reference {wanted!r}")
    return failed(f"the response ends in {answers[1]!r}, the reference is {wanted!r}")
