"""What the demo tells at its end: every sample once, and admission held against what nobody told it."""

import io
import json
import re

from rich.console import Console

from headrace.core.ledger import Account
from headrace.demo.champ import DemoSample, demo_samples
from headrace.demo.report import Ended, Spent, render


def sample(name: str, *, right: bool, withheld: bool) -> DemoSample:
    return DemoSample({"id": name}, name, "model", right, withheld)


def ended(accepted: bool, loss: float | None = 1.0) -> Ended:  # noqa: FBT001 - a verdict
    return Ended(accepted, "accepted" if accepted else "check_failed", loss, 0.5, 10, None)


def told(*arguments: object) -> list[list[str]]:
    """The printed tables' cells, line by line."""
    console = Console(file=io.StringIO(), width=120)
    console.print(render(*arguments))  # type: ignore[arg-type] # as each test gives them
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined] # it is what was given
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if "│" in line or "┃" in line]


def test_the_tables_say_how_every_sample_ended_and_what_was_right():
    """The account's numbers, with duplicates beside; with references the four cases; without them how well a signal separates."""
    samples = [
        sample("a", right=True, withheld=False),
        sample("b", right=False, withheld=False),
        sample("c", right=False, withheld=False),
        sample("d", right=True, withheld=True),
        sample("e", right=False, withheld=True),
    ]
    ends = {"a": ended(True), "b": ended(True), "c": ended(False), "d": ended(True, 0.5), "e": ended(False, 1.5)}
    account = Account(submitted=5, accepted=2, rejected=3, reasons={"near_duplicate": 1, "exact_duplicate": 1, "too_dense": 1})
    passages = {"scoring": [1.0, 2.0, 9.0], "validation": [], "admission": [0.5]}
    rows = told(samples, ends, account, [Spent("scoring", 2.0, 1_234)], passages)
    for expected in (
        ["accepted", "2"],
        ["rejected: near_duplicate", "1"],
        ["in flight", "0"],
        ["submitted", "5"],
        ["of these duplicates", "2"],
        ["admitted", "1", "1"],
        ["turned away", "0", "1"],
        ["low response loss", "1.000", "2"],
        ["dense neighbourhood", "-", "0"],
        ["scoring", "1,234", "2.0", "400.0"],
        ["scoring", "3", "2.00", "8.30"],
        ["validation", "0", "-", "-"],
        ["admission", "1", "0.50", "0.50"],
    ):
        assert expected in rows


def test_for_half_of_the_problems_the_system_never_sees_the_answer():
    """Neither as a reference nor in the summary by which an answer is judged; a problem is in one half, with all its answers."""
    samples = demo_samples(10_000, seed=0)
    withheld = {each.problem for each in samples if each.withheld}
    given = {each.problem for each in samples if not each.withheld}
    assert not withheld & given
    assert abs(len(withheld) - len(given)) <= 1
    assert {"reference" in each.line for each in samples if each.withheld} == {False}
    assert {each.line["reference"]["verifier"] for each in samples if not each.withheld} == {"math"}
    assert {tuple(turn["role"] for turn in each.line["messages"]) for each in samples} == {("system", "user", "assistant")}
    assert len({each.id for each in samples}) == len(samples)
    assert {each.right for each in samples} == {True, False}


def test_the_same_seed_draws_the_same_conversations():
    """In the same order, as many as were asked for; another seed draws others."""
    drawn = [json.dumps([each.line for each in demo_samples(8, seed)]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(demo_samples(8, 0)) == 8
