"""No more accepted samples than the quota answer the same prompt."""

from pydantic import BaseModel, ConfigDict, Field

from headrace.checks._contract import Finding, Workers, failed, not_made, passed
from headrace.core.dossiers import Dossier

VERSION = 1


class Settings(BaseModel):
    """What a policy may set for `duplicate_prompt`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    copies_max: int = Field(1, ge=1, le=1_000, strict=True, description="Accepted samples that may answer the same prompt.")


def validate(_: Settings) -> None:
    """The bounds of the settings say it all."""


def applies(_dossier: Dossier, _settings: Settings) -> bool:
    """Every sample has a prompt."""
    return True


async def check(dossier: Dossier, settings: Settings, _: Workers) -> Finding:
    """Counted at placement, in the order in which the dataset's samples were placed."""
    if dossier.placement is None:
        return not_made("the sample has no placement, so copies of its prompt were not counted")
    copies = dossier.placement.prompt_copies
    counted = f"{copies} accepted sample{'' if copies == 1 else 's'} with the same prompt, copies_max is {settings.copies_max}"
    return passed(counted) if copies < settings.copies_max else failed(counted)
