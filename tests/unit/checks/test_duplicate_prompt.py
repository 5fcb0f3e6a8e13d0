"""`duplicate_prompt`: the quota of answers to one prompt."""

import dataclasses

import pytest

from headrace.core.dossiers import CheckOutcome
from tests.fakes.evidence import dossier, placement


@pytest.mark.parametrize(
    ("copies", "settings", "passes"),
    [(0, {}, True), (1, {}, False), (1, {"copies_max": 2}, True), (2, {"copies_max": 2}, False), (9, {"copies_max": 2}, False)],
)
async def test_quota(run, copies, settings, passes):
    """As many accepted samples may share a prompt as the quota says, this one among them."""
    result = await run(dossier(placed=placement(prompt_copies=copies)), check="duplicate_prompt", **settings)
    assert result.outcome is (CheckOutcome.PASSED if passes else CheckOutcome.FAILED)
    assert f"{copies} accepted sample" in result.evidence


async def test_unplaced_sample_cannot_be_counted(run):
    """Without a placement nothing is known of copies."""
    unplaced = dataclasses.replace(dossier(), placement=None)
    assert (await run(unplaced, check="duplicate_prompt")).outcome is CheckOutcome.NOT_MADE
