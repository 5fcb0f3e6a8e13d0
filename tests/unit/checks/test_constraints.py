"""`constraints`: each violated constraint is named."""

import asyncio
import random
import time
from itertools import pairwise

import pytest

from headrace.core.dossiers import CheckOutcome
from tests.fakes.evidence import dossier, signals
from tests.fakes.workers import FakeWorkers

PASSED, FAILED, NOT_MADE = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.NOT_MADE
ENGLISH = "The answer follows at once, since every even number above two is the sum of two smaller numbers."
CHINESE = "答案很简单 因为每个大于二的偶数都可以写成两个较小的数之和 所以我们可以立即得出结论 这就是全部的证明过程"
GERMAN = "Die Antwort folgt sofort, denn jede gerade Zahl ist die Summe von zwei kleineren ganzen Zahlen."


@pytest.mark.parametrize(
    ("scored", "bounds", "outcome", "evidence"),
    [
        (signals(response_tokens=5), {"tokens_min": 5, "tokens_max": 5}, PASSED, ""),
        (signals(response_tokens=4), {"tokens_min": 5}, FAILED, "4 response tokens, tokens_min is 5"),
        (signals(response_tokens=6), {"tokens_max": 5}, FAILED, "6 response tokens, tokens_max is 5"),
        (signals(response_tokens=6, truncated=True), {"tokens_max": 5}, FAILED, "6 response tokens, tokens_max is 5"),
        (
            signals(response_tokens=4, truncated=True),
            {"tokens_max": 5},
            NOT_MADE,
            "4 response tokens were read, and there are more",
        ),
        (signals(response_tokens=4, truncated=True), {"tokens_min": 5}, NOT_MADE, "and there are more"),
        (signals(response_tokens=6, truncated=True), {"tokens_min": 5}, PASSED, ""),
        (signals(None, error="no"), {"tokens_min": 5}, NOT_MADE, "the response's tokens were not counted"),
        (signals(None, error="no"), {"tokens_min": 5, "characters_max": 1}, FAILED, "9 characters, characters_max is 1"),
        (signals(), {"characters_min": 9, "characters_max": 9}, PASSED, ""),
        (signals(), {"characters_min": 10}, FAILED, "9 characters, characters_min is 10"),
    ],
)
async def test_length(run, scored, bounds, outcome, evidence):
    """Tokens are those the model counted; where it read only the beginning, only what follows from that is said."""
    result = await run(dossier(scored=scored), check="constraints", **bounds)
    assert result.outcome is outcome
    assert evidence in result.evidence


@pytest.mark.parametrize(
    ("response", "languages", "outcome"),
    [
        (ENGLISH, ["en"], PASSED),
        (GERMAN, ["en"], FAILED),
        (GERMAN, ["en", "de"], PASSED),
        (
            CHINESE,
            ["en"],
            FAILED,
        ),
        ("x = 5", ["en"], PASSED),
        ("```python\n" + "ausgabe = eingabe + wert\n" * 20 + "```", ["fr"], PASSED),
        (r"$$" + r"\alpha + \beta = \gamma " * 30 + "$$", ["fr"], PASSED),
        ("", ["en"], PASSED),
        (ENGLISH + "\ud800", ["en"], PASSED),
        (ENGLISH * 5_000, ["en"], PASSED),
    ],
)
async def test_language(run, response, languages, outcome):
    """Prose in another language fails; code, formulas and what is too short to tell pass."""
    assert (await run(dossier(response), check="constraints", languages=languages)).outcome is outcome


async def test_language_names_what_it_looks_like(run):
    """The evidence says which language it took the response for."""
    result = await run(dossier(GERMAN), check="constraints", languages=["en"])
    assert result.evidence.startswith("looks like de (")


@pytest.mark.parametrize(
    ("required", "response", "outcome"),
    [
        ("json", '{"a": [1, 2]}', PASSED),
        ("json", '{"a": 1, "a": 2}', FAILED),
        ("json", "Sure! {}", FAILED),
        ("markdown_list", "- one\n- two\n\n  more of two\n* three\n10. four\n3) five", PASSED),
        ("markdown_list", "Here it is:\n- one", FAILED),
        ("markdown_list", "", FAILED),
        ("markdown_list", "-one", FAILED),
        ("code_block", "Look:\n```python\nx = 1\n```\ndone", PASSED),
        ("code_block", "~~~\n```\n~~~", PASSED),
        ("code_block", "```python\nx = 1", FAILED),
        ("code_block", "no code", FAILED),
    ],
)
async def test_format(run, required, response, outcome):
    """Each format is held to exactly what its description says."""
    assert (await run(dossier(response), check="constraints", format=required)).outcome is outcome


@pytest.mark.parametrize(
    ("response", "patterns", "outcome"),
    [
        ("The answer is 4.", {"must_match": ["(?i)ANSWER", r"\d"]}, PASSED),
        ("The answer is 4.", {"must_match": ["reply"]}, FAILED),
        ("As an AI, I cannot.", {"must_not_match": ["(?i)as an ai"]}, FAILED),
        ("a" * 100_000 + "!", {"must_match": ["^(a+)+$"]}, FAILED),
        ("\ud800\x00", {"must_not_match": ["x"]}, PASSED),
    ],
)
async def test_patterns(run, response, patterns, outcome):
    """Patterns are searched in linear time, also those that would make a backtracking engine run away."""
    assert (await run(dossier(response), check="constraints", **patterns)).outcome is outcome


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ("B", PASSED),
        ("  B.\n", PASSED),
        ("I weighed them.\n\nB", PASSED),
        (r"So it is \boxed{B}, clearly.", PASSED),
        (r"\boxed{A{B}}", FAILED),
        (r"\boxed{B", FAILED),
        ("b", FAILED),
        ("B or C", FAILED),
    ],
)
async def test_options(run, response, outcome):
    """The answer is one of the options: alone, on the last line, or in the last box."""
    assert (await run(dossier(response), check="constraints", options=["A", "B"])).outcome is outcome
    if response == "b":
        assert (await run(dossier(response), check="constraints", options=["A", "B"], options_ignore_case=True)).outcome is PASSED


async def test_every_violation_is_named(run):
    """One look at the evidence tells all that is wrong."""
    result = await run(dossier(GERMAN), check="constraints", tokens_max=1, characters_max=3, languages=["en"], format="json",
                       must_match=["x{5}"], must_not_match=["Die"], options=["A"])  # fmt: skip
    for violation in ("tokens_max", "characters_max", "looks like", "format json", "must_match", "must_not_match", "options"):
        assert violation in result.evidence


@pytest.mark.parametrize(
    ("response", "settings", "runs"),
    [
        ("short", {"options": ["A"], "format": "json", "must_match": ["x"]}, 0),
        ("x" * 30_000, {"tokens_max": 9, "must_match": ["x"]}, 0),
        ("x" * 5_000, {"options": ["A"]}, 1),
        ("\u4e00" * 2_000, {"format": "json"}, 1),
        ("x" * 200, {"must_not_match": ["(a|b|.){1000}c"]}, 1),
    ],
)
async def test_what_may_take_long_is_looked_for_in_a_worker(run, response, settings, runs):
    """That is long texts, and patterns whose automaton is large."""
    workers = FakeWorkers()
    await run(dossier(response), workers, check="constraints", **settings)
    assert workers.runs == runs


async def test_limit_reached_counts_only_where_nothing_is_violated(run):
    """As with all that cannot be judged."""
    runaway = dossier("RUNAWAY" * 1_000)
    assert (await run(runaway, check="constraints", options=["A"])).outcome is NOT_MADE
    result = await run(runaway, check="constraints", options=["A"], characters_max=9)
    assert (result.outcome, result.evidence) == (FAILED, "7000 characters, characters_max is 9")


@pytest.mark.asyncio(loop_scope="module")
async def test_costly_pattern_is_killed_and_holds_up_nobody(run, workers):
    """RE2 takes its time for each character where its automaton outgrows its memory; meanwhile the event loop is free."""
    response = "".join(random.Random(1).choices("ab", k=400_000))
    gaps = [time.monotonic()]

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic())

    ticking = asyncio.create_task(tick())
    settings = {"check": "constraints", "must_not_match": ["(a|b|.){1000}c"]}
    result = await run(dossier(response), workers, **settings, cpu_s_max=0.3)
    ticking.cancel()
    assert result.outcome is NOT_MADE
    assert "more than 0.3 s of processor time" in result.evidence
    assert max(after - before for before, after in pairwise(gaps)) < 2
