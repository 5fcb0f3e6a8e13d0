"""`exact`: word for word, but for what no reader sees."""

import pytest

from headrace.core.dossiers import CheckOutcome
from headrace.core.samples import Reference
from tests.fakes.evidence import dossier
from tests.fakes.workers import FakeWorkers


@pytest.mark.parametrize(
    ("reference", "response", "settings", "passes"),
    [
        ("Paris", "Paris", {}, True),
        ("Paris", " Paris. ", {}, True),
        ("Paris", "It is the capital.\nParis", {}, True),
        ("Paris", r"\boxed{Paris}", {}, True),
        ("New  York", "New York", {}, True),
        ("caf\u00e9", "cafe\u0301", {}, True),
        ("Paris", "paris", {}, False),
        ("Paris", "paris", {"ignore_case": True}, True),
        ("Paris", "It is Paris", {}, False),
        ("Paris", "", {}, False),
    ],
)
async def test_text_equality(run, reference, response, settings, passes):
    """White space, Unicode form and a closing full stop do not count; everything else does."""
    result = await run(dossier(response, reference=Reference(reference, "exact")), check="exact", **settings)
    assert result.outcome is (CheckOutcome.PASSED if passes else CheckOutcome.FAILED)


async def test_applies_only_where_the_reference_asks_for_it(run):
    """A reference for mathematics is not compared word for word."""
    assert await run(dossier("42", reference=Reference("42", "math")), check="exact") is None


async def test_long_texts_are_compared_in_a_worker(run):
    """Short ones are compared at once, to the same end."""
    workers = FakeWorkers()
    for padding, runs in (("", 0), ("x" * 5_000, 1)):
        reference = Reference("Caf\u00e9" + padding, "exact")
        for response, outcome in (("Cafe\u0301", CheckOutcome.PASSED), ("Cafe", CheckOutcome.FAILED)):
            workers.runs = 0
            result = await run(dossier(f"It is\n{response}{padding}", reference=reference), workers, check="exact")
            assert (result.outcome, workers.runs) == (outcome, runs)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_long_wrong_answer_fails_and_loses_no_worker(run, workers):
    """Its evidence is cut to what people read before a worker says it."""
    result = await run(dossier("x" * 300_000, reference=Reference("Paris", "exact")), workers, check="exact")
    assert result.outcome is CheckOutcome.FAILED
    assert "the reference is 'Paris'" in result.evidence
