"""`exact`: word for word, but for what no reader sees."""

import pytest

from headrace.core.dossiers import CheckOutcome
from headrace.core.samples import Reference
from tests.fakes.evidence import dossier


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
