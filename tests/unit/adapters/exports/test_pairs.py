"""Preference pairs: which answers stand against each other, and in which form TRL gets them."""

import json

import pytest
from datasets import load_dataset

from headrace.adapters.exports.export import NothingToExport
from headrace.core.exports import ExportFormat
from headrace.core.fine_tuning import is_held_out
from headrace.core.reasons import Reason
from headrace.core.samples import Message
from headrace.core.versions import RowKind
from tests.fakes.exporting import ASKED, CONVERSATIONS, TOOLS, Exporting, decided


def answered(text):
    return (ASKED, Message("assistant", text))


async def pairs_of(tmp_path, *decisions):
    exporting = Exporting()
    await exporting.cut(*decisions)
    contents = await exporting.export(ExportFormat.PREFERENCE, tmp_path / "out")
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    return contents, list(rows)


def named(pair):
    return pair["chosen_id"], pair["chosen_revision"], pair["rejected_id"], pair["rejected_revision"], pair["found_by"]


async def test_an_accepted_answer_stands_against_one_that_failed_a_check(tmp_path):
    """Other rejections say nothing of the answer: duplicates, density, loss, or how often the prompt was there."""
    contents, [pair] = await pairs_of(
        tmp_path,
        decided("good", answered("42")),
        decided("wrong", answered("41"), Reason.CHECK_FAILED, "math: 41 is not 42"),
        decided("copy", answered("42!"), Reason.NEAR_DUPLICATE),
        decided("often", answered("43"), Reason.CHECK_FAILED, "duplicate_prompt: 1 accepted sample"),
        decided("dense", answered("44"), Reason.TOO_DENSE),
        decided("elsewhere", (Message("user", "What else?"), Message("assistant", "no")), Reason.CHECK_FAILED, "math: no"),
    )
    assert named(pair) == ("good", 0, "wrong", 0, "check_failed")
    assert pair["prompt"] == [{"role": "user", "content": "What is 6 times 7?"}]
    assert pair["chosen"] == [{"role": "assistant", "content": "42"}]
    assert pair["rejected"] == [{"role": "assistant", "content": "41"}]
    assert pair["tools"] is None
    assert contents.found_by == {"check_failed": 1}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "croissant.json", "headrace-export.json", "data"}


async def test_a_later_revision_stands_against_the_earlier_one(tmp_path):
    """Whatever the earlier one was rejected for, the later one was accepted in its place."""
    _, [pair] = await pairs_of(
        tmp_path, decided("a", answered("41"), Reason.LOSS_TOO_HIGH), decided("a", answered("42"), revision=1)
    )
    assert named(pair) == ("a", 1, "a", 0, "revision")


async def test_a_refined_answer_stands_against_its_parent(tmp_path):
    """The parent may be accepted too; one that asked something else is no pair."""
    _, pairs = await pairs_of(
        tmp_path,
        decided("parent", answered("it is 42")),
        decided("child", answered("42"), parents=("parent", "stranger")),
        decided("stranger", (Message("user", "What else?"), Message("assistant", "no"))),
    )
    assert [named(pair) for pair in pairs] == [("child", 0, "parent", 0, "refined")]


async def test_failed_answers_are_shared_out_among_the_accepted_ones(tmp_path):
    """As many pairs as failed answers, not their product; a row sent twice is one answer."""
    contents, pairs = await pairs_of(
        tmp_path,
        *(decided(f"good{n}", answered(f"42 {n}")) for n in range(2)),
        *(decided(f"wrong{n}", answered(f"41 {n}"), Reason.CHECK_FAILED, "math: no") for n in range(5)),
        decided("wrong0", answered("41 0"), Reason.CHECK_FAILED, "math: no"),
    )
    assert sorted(pair["rejected_id"] for pair in pairs) == [f"wrong{n}" for n in range(5)]
    assert [sum(pair["chosen_id"] == f"good{n}" for pair in pairs) for n in range(2)] == [3, 2]
    assert contents.rows == 5


async def test_pairs_with_tools_keep_them(tmp_path):
    """The prompt ends before the last answer: calls and replies belong to it."""
    turns = CONVERSATIONS["tools"]
    _, [pair] = await pairs_of(
        tmp_path,
        decided("good", turns, tools_json=TOOLS),
        decided("wrong", (*turns[:-1], Message("assistant", "43")), Reason.CHECK_FAILED, "math: no", tools_json=TOOLS),
    )
    assert [turn["role"] for turn in pair["prompt"]] == ["user", "assistant", "tool"]
    assert pair["prompt"][1]["tool_calls"][0]["id"] == "call-1"
    assert pair["tools"] == TOOLS


async def test_pairs_that_say_the_same_or_go_on_are_left_out(tmp_path):
    """They are counted and named."""
    contents, [pair] = await pairs_of(
        tmp_path,
        decided("good", answered("42")),
        decided("goes-on", (*answered("41"), Message("user", "thanks")), Reason.CHECK_FAILED, "math: no"),
        decided("same", (*answered("42")[:1], Message("assistant", "42")), Reason.CHECK_FAILED, "schema: no"),
        decided("wrong", answered("41"), Reason.CHECK_FAILED, "math: no"),
    )
    assert pair["rejected_id"] == "wrong"
    assert contents.left_out == {"not_answered": 1, "same_answer": 1}
    listed = [json.loads(line) for line in (tmp_path / "out" / "left-out.jsonl").read_text().splitlines()]
    assert [(row["rejected_id"], row["reason"]) for row in listed] == [("goes-on", "not_answered"), ("same", "same_answer")]


@pytest.mark.parametrize("rejected", [(), (decided("dense", answered("44"), Reason.TOO_DENSE),)])
async def test_a_version_without_pairs_says_so(tmp_path, rejected):
    """Nothing is written, and the message says what would make a pair."""
    exporting = Exporting()
    await exporting.cut(decided("good", answered("42")), *rejected)
    with pytest.raises(NothingToExport, match=r"version 1 of maths has no preference pairs: no accepted row shares its prompt"):
        await exporting.export(ExportFormat.PREFERENCE, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


async def test_pairs_of_one_prompt_are_held_out_together(tmp_path):
    """The same prompts are held out as in every other format."""
    exporting = Exporting()
    for n in range(8):
        asked = Message("user", f"What is {n}?")
        await exporting.cut(
            decided(f"good{n}", (asked, Message("assistant", "42"))),
            decided(f"wrong{n}", (asked, Message("assistant", "41")), Reason.CHECK_FAILED, "math: no"),
        )
    contents = await exporting.export(ExportFormat.PREFERENCE, tmp_path / "out", held_out_share=0.5)
    version = await exporting.store.version("maths")
    batches = [batch async for batch in exporting.store.rows(version.manifest, RowKind.ACCEPTED, ["sample_id", "prompt_hash"])]
    aside = {row["sample_id"] for batch in batches for row in batch.to_pylist() if is_held_out(row["prompt_hash"], 0.5, "")}
    rows = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert contents.rows == 8
    assert set(rows["test"]["chosen_id"]) == aside
