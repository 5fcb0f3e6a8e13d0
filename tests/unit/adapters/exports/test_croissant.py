"""What `mlcroissant` makes of the metadata: valid, and every record as it is in the version."""

import hashlib
import json

import pytest

from headrace.core.exports import ExportFormat
from tests.fakes.exporting import ANSWER, Exporting

pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),  # rdflib, of its own parser
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index:DeprecationWarning"),  # mlcroissant reads so
]
FORMATS = [form for form in ExportFormat if form is not ExportFormat.PREFERENCE]


@pytest.mark.parametrize("form", FORMATS)
async def test_mlcroissant_validates_every_format_and_reads_its_records(form, tmp_path):
    """No errors, no warnings but for what only the publisher can say, and as many records as rows in each split."""
    import mlcroissant  # noqa: PLC0415 - seconds

    contents = await (await Exporting.of_every_kind()).export(
        form, tmp_path / "out", rejected=True, held_out_share=0.3, licence="cc-by-4.0"
    )
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert {warning.split('"')[1].rpartition("/")[2] for warning in issues.warnings} == {"citeAs", "datePublished"}
    for split in contents.splits:
        name = f"{split.config}-{split.name}"
        assert len(list(dataset.records(name))) == split.rows


async def test_turns_of_a_conversation_are_nested_records(tmp_path):
    """Roles and contents come turn by turn."""
    import mlcroissant  # noqa: PLC0415 - seconds

    await (await Exporting.of_every_kind()).export(ExportFormat.MESSAGES, tmp_path / "out")
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))
    records = {record["default-train/sample_id"]: record for record in dataset.records("default-train")}
    turn = records[b"plain"]["default-train/messages"][1]
    assert turn["default-train/messages/role"] == b"assistant"
    assert turn["default-train/messages/content"] == ANSWER.content.encode()


async def test_files_are_named_with_their_hashes(tmp_path):
    """Whoever copies the folder can tell whether it is whole, by the metadata or by the marker."""
    await (await Exporting.of_every_kind()).export(ExportFormat.ALPACA, tmp_path / "out", held_out_share=0.3)
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())
    files = {entry["contentUrl"]: entry["sha256"] for entry in described["distribution"] if entry["@type"] == "cr:FileObject"}
    marker = json.loads((tmp_path / "out" / "headrace-export.json").read_text())
    assert files.items() <= {name: entry["sha256"] for name, entry in marker["files"].items()}.items()
    assert set(marker["files"]) - set(files) == {"README.md", "croissant.json", "left-out.jsonl"}
    for name, entry in marker["files"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == entry["sha256"]
