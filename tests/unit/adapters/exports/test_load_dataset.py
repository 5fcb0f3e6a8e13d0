"""What `datasets` makes of an export: the rows that are in the version, streamed or not, in every format."""

import json

import pytest
from datasets import Features, load_dataset
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from headrace.core.exports import ExportFormat
from tests.fakes.exporting import ANSWER, CONVERSATIONS, TOOLS, Exporting, decided

FORMATS = [form for form in ExportFormat if form is not ExportFormat.PREFERENCE]


@pytest.fixture
def load(tmp_path):
    """Loads a folder with a cache of its own."""
    return lambda folder, *args, **options: load_dataset(str(folder), *args, cache_dir=str(tmp_path / "cache"), **options)


@pytest.mark.parametrize("form", FORMATS)
async def test_datasets_loads_every_format_streamed_or_not(form, tmp_path, load):
    """Both ways give the same rows, with the types that the card declares."""
    contents = await (await Exporting.of_every_kind()).export(form, tmp_path / "out")
    loaded = load(tmp_path / "out", split="train")
    streamed = load(tmp_path / "out", split="train", streaming=True)
    assert len(loaded) == contents.rows == (11 if form is ExportFormat.ALPACA else 14)
    assert list(streamed) == list(loaded)
    assert streamed.features == loaded.features == Features.from_arrow_schema(contents.schema)
    assert loaded["sample_id"] == sorted(loaded["sample_id"])


async def test_messages_are_conversations_with_their_tools(tmp_path, load):
    """Turns come back as they were; tools are JSON text."""
    await (await Exporting.of_every_kind()).export(ExportFormat.MESSAGES, tmp_path / "out")
    rows = {row["sample_id"]: row for row in load(tmp_path / "out", split="train")}
    assert [turn["role"] for turn in rows["system"]["messages"]] == ["system", "user", "assistant"]
    assert rows["plain"]["messages"][1]["content"] == ANSWER.content
    assert rows["plain"]["tools"] is None
    assert rows["tools"]["tools"] == TOOLS
    [call] = rows["tools"]["messages"][1]["tool_calls"]
    assert call == {"id": "call-1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 6, "b": 7}'}}


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_comes_late_in_a_file_fits_what_came_first(streaming, tmp_path, load):
    """Tools that only the last rows have change no types: the card declares them, nothing is guessed from the first chunk."""
    exporting = Exporting()
    await exporting.cut(
        *(decided(f"a{n:02}", CONVERSATIONS["plain"]) for n in range(40)),
        decided("b", CONVERSATIONS["tools"], tools_json=TOOLS),
    )
    for form in (ExportFormat.MESSAGES, ExportFormat.JSONL, ExportFormat.SHAREGPT):
        await exporting.export(form, tmp_path / form)
        rows = list(load(tmp_path / form, split="train", streaming=streaming, chunksize=1024))
        assert len(rows) == 41
        assert TOOLS in rows[-1].values()


async def test_keys_that_no_turn_has_are_not_declared(tmp_path, load):
    """Chat templates ask whether a key is there: conversations without tools have no keys for them."""
    exporting = Exporting()

    await exporting.cut(decided("a", CONVERSATIONS["plain"]))
    await exporting.export(ExportFormat.MESSAGES, tmp_path / "out")
    [row] = load(tmp_path / "out", split="train")
    assert row.keys() == {"sample_id", "revision", "messages", "tools"}
    assert row["messages"][0].keys() == {"role", "content"}


async def test_plain_formats_hold_all_columns(tmp_path, load):
    """Parquet and JSON Lines say the same of every row."""
    exporting = await Exporting.of_every_kind()
    rows = {}
    for form in (ExportFormat.PARQUET, ExportFormat.JSONL):
        await exporting.export(form, tmp_path / form)
        rows[form] = {row["sample_id"]: row for row in load(tmp_path / form, split="train")}
    as_parquet, as_json = rows.values()
    for name, row in as_parquet.items():
        row["submitted_at"], row["decided_at"] = row["submitted_at"].isoformat(), row["decided_at"].isoformat()
        assert row == as_json[name]
    assert as_json["plain"]["model"] == "smol"


async def test_rejected_rows_are_a_configuration_and_held_out_rows_a_split(tmp_path, load):
    """Nobody trains on either unless they name it."""
    contents = await (await Exporting.of_every_kind()).export(
        ExportFormat.JSONL, tmp_path / "out", rejected=True, held_out_share=0.3
    )
    accepted, rejected = load(tmp_path / "out"), load(tmp_path / "out", "rejected")
    assert {split: len(rows) for split, rows in accepted.items()} == {
        split.name: split.rows for split in contents.splits if split.config == "default"
    }
    assert sum(map(len, accepted.values())) == 14
    assert accepted.keys() == {"train", "test"}
    assert {reason for rows in rejected.values() for reason in rows["reason"]} == {"loss_too_high"}
    assert not set(accepted["train"]["prompt_hash"]) & set(accepted["test"]["prompt_hash"])


@pytest.mark.parametrize("form", FORMATS)
async def test_the_hub_s_own_reader_takes_the_card(form, tmp_path):
    """Front matter, configurations and features are read by the classes that the Hub's tools use."""
    await (await Exporting.of_every_kind()).export(form, tmp_path / "out", rejected=True, licence="cc-by-4.0")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.size_categories == ["n<1K"]
    configs = MetadataConfigs.from_dataset_card_data(card.data)
    assert configs.get_default_config_name() == "default"
    assert "| `loss_too_high` | 2 | the response loss is above the policy's bound |" in card.text
    assert "| `p1` | 16 |" in card.text


async def test_what_a_format_cannot_hold_is_counted_and_named(tmp_path):
    """Alpaca holds one question and one answer: the others are in a list, with their reasons."""
    contents = await (await Exporting.of_every_kind()).export(ExportFormat.ALPACA, tmp_path / "out")
    listed = [json.loads(line) for line in (tmp_path / "out" / "left-out.jsonl").read_text().splitlines()]
    assert {row["sample_id"]: row["reason"] for row in listed} == {
        "several": "several_turns", "system": "system_prompt", "tools": "tools",
    }  # fmt: skip
    assert contents.left_out == {"several_turns": 1, "system_prompt": 1, "tools": 1}
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert "| `tools` | 1 | offers tools, for which the form has no place |" in card.text
    assert "Licence: not stated" in card.text
