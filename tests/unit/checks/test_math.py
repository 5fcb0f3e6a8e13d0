"""`math`: answers compared as mathematics, and answers that try to run away."""

import pytest

from headrace.core.dossiers import CheckOutcome
from headrace.core.samples import Reference
from tests.fakes.evidence import dossier

PASSED, FAILED, NOT_MADE = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.NOT_MADE


def answered(reference: str, response: str):
    return dossier(response, reference=Reference(reference, "math"))


@pytest.mark.parametrize(
    ("reference", "response", "outcome"),
    [
        ("42", "So the answer is 42.", PASSED),
        ("42", "So the answer is 43.", FAILED),
        ("42", "I first thought of 42, but the final answer is $41$.", FAILED),
        ("1/2", "hence $x = 0.5$", PASSED),
        (r"\frac{1}{2}", r"so it is \boxed{\frac{2}{4}}", PASSED),
        (r"2 \sqrt{3}", r"\boxed{\sqrt{12}}", PASSED),
        (r"2 \sqrt{3}", r"\boxed{2}", FAILED),
        ("2**3", r"\boxed{8}", PASSED),
        ("2**3", r"\boxed{2}", FAILED),
        ("2^(m+1)", r"\boxed{2 \cdot 2^m}", PASSED),
        ("1,234", "1234 in all", PASSED),
        ("-5", "it is \u22125", PASSED),
        ("x=5", r"\boxed{5}", PASSED),
        ("(1,2)", r"\boxed{(1, 2)}", PASSED),
        (r"\{1,2\}", r"\boxed{2, 1}", PASSED),
        ("76", "T(6) = 76.\nSo, there are 76 involutions on the set {1, 2, 3, 4, 5, 6}.", PASSED),
        ("6", "So, there are 76 involutions on the set {1, 2, 3, 4, 5, 6}.", FAILED),
        ("6", "There are 76 of them in {1, 2}, but the answer is 6.", PASSED),
        ("42", "I do not know.", FAILED),
        ("42", "", FAILED),
        ("42", "\ud800 \x00 $$ 42", PASSED),
        (r"\text{no}", r"$\text{no}$", PASSED),
    ],
)
async def test_answer_is_compared_as_mathematics(run, reference, response, outcome):
    """Equal values pass in whatever form; the last answer counts; no answer fails."""
    result = await run(answered(reference, response), check="math")
    assert result.outcome is outcome, result.evidence


@pytest.mark.parametrize("reference", ["Yes", "0 is the only possible value", "1 234", "½", "$$", "sqrt(2)", "pi", "2 or 3"])
async def test_reference_that_cannot_be_read_says_nothing_about_the_sample(run, reference):
    """Prose read as LaTeX would be a product of letters, and everything would fail: the check is not made instead."""
    result = await run(answered(reference, r"\boxed{0}"), check="math")
    assert result.outcome is NOT_MADE
    assert "cannot be read" in result.evidence


@pytest.mark.parametrize(
    "reference",
    [Reference("42", "exact"), Reference("", "math"), Reference("42"), None],
    ids=["exact", "empty", "none", "absent"],
)
async def test_applies_only_to_references_for_mathematics(run, reference):
    """Other samples pass by the check."""
    assert await run(dossier("42", reference=reference), check="math") is None


async def test_evidence_says_what_was_compared(run):
    """A person sees the answer that was found and the reference, or that there was no answer."""
    assert (
        await run(answered("42", "It is 41."), check="math")
    ).evidence == "the final answer '41' does not equal the reference '42'"
    assert (await run(answered("42", "dunno"), check="math")).evidence == (
        "no final answer found in the response; the reference is '42'"
    )


async def test_response_beyond_the_limit_is_not_read(run):
    """A million characters are not given to regular expressions that backtrack."""
    result = await run(answered("42", "x" * 1_000_000 + " 42"), check="math")
    assert result.outcome is NOT_MADE
    assert "1000000" not in result.evidence
    assert "1000003 characters, response_chars_max is 32768" in result.evidence


RUNAWAYS = {
    "tower of powers": "$9^{9^{9^{9}}}$",
    "plain tower": "9**9**9**9",
    "factorial": "$(10^7)!$",
    "long sum": r"$\sum_{k=1}^{10^9} k^k$",
    "nested braces": "$" + "{" * 5_000 + "4" + "}" * 5_000 + "$",
    "nested fractions": "$" + r"\frac{1}{" * 500 + "4" + "}" * 500 + "$",
    "dollars": "$" * 30_000,
    "boxes": r"\boxed{" * 3_000,
    "long addition": "1 + " * 8_000 + "1",
    "memory": r"$10^{10^{9}} - 10^{10^{9}} + 4$",
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("response", RUNAWAYS.values(), ids=RUNAWAYS)
async def test_runaway_answer_ends_in_bounded_time_and_harms_nobody(run, workers, response):
    """Whatever an answer does to the parser, it is over soon, is never a pass, and the next answer is compared as ever."""
    result = await run(answered("4", response), workers, check="math", cpu_s_max=0.5)
    assert result.outcome is not PASSED
    if result.outcome is NOT_MADE:
        assert "processor time" in result.evidence or "memory" in result.evidence
    for _ in range(4):  # both workers
        assert (await run(answered("4", "It is 4."), workers, check="math")).outcome is PASSED


@pytest.mark.asyncio(loop_scope="module")
async def test_fake_and_real_workers_agree(run, workers):
    """What the fake workers of other tests answer is what the processes answer."""
    for evidence in (answered("42", "It is 42."), answered("42", "no"), answered("Yes", "42")):
        assert await run(evidence, check="math") == await run(evidence, workers, check="math")
