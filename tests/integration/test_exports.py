"""Exports of versions on a real object store, and trainers that take them as they are."""

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from datasets import load_dataset

from headrace.adapters.object_store import open_object_store
from headrace.core.exports import ExportFormat
from headrace.core.reasons import Reason
from headrace.core.samples import Message
from headrace.local.checkout import model_python
from tests.fakes.exporting import ASKED, CONVERSATIONS, TOOLS, Exporting, decided

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.connected
async def test_the_command_exports_from_a_real_store(s3, tmp_path):
    """By number or as the latest: each version as it was, the same bytes each time."""
    settings = s3.model_copy(update={"bucket": f"exports-{uuid4().hex[:12]}"})
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}",
        "HEADRACE_HOME": str(tmp_path / "no-stack"),
        "HEADRACE_S3_ENDPOINT": settings.endpoint,
        "HEADRACE_S3_ACCESS_KEY": settings.access_key,
        "HEADRACE_S3_SECRET_KEY": settings.secret_key.get_secret_value(),
        "HEADRACE_S3_BUCKET": settings.bucket,
    }

    async def export(*arguments):
        command = [sys.executable, "-m", "headrace.cli.main", "dataset", "export", *map(str, arguments), "--json"]
        ran = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    async with open_object_store(settings) as objects:
        exporting = Exporting(objects)
        await exporting.cut(*(decided(f"s{n:02}", (ASKED, Message("assistant", f"it is {n}"))) for n in range(20)))
        await exporting.cut(decided("t", CONVERSATIONS["several"]))
    first = await export("maths@1", tmp_path / "first", "--format", "messages")
    latest = await export("maths", tmp_path / "latest", "--format", "parquet")
    assert (first["sequence"], first["rows"]) == (1, 20)
    assert (latest["sequence"], latest["rows"]) == (2, 21)
    rows = load_dataset(str(tmp_path / "latest"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["sample_id"] == [*(f"s{n:02}" for n in range(20)), "t"]
    again = await export("maths@1", tmp_path / "again", "--format", "messages")
    assert again | {"folder": ""} == first | {"folder": ""}
    for name in ("README.md", "croissant.json", "data/train-00000-of-00001.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.connected
@pytest.mark.model
@pytest.mark.timeout(700)
async def test_trl_trains_on_messages_and_on_preferences(tmp_path):
    """SFTTrainer and DPOTrainer take the folders by name alone: no mapping of columns, every row, finite losses."""
    exporting = await Exporting.of_every_kind()
    turns = CONVERSATIONS["tools"]
    await exporting.cut(
        decided("wrong", (ASKED, Message("assistant", "41")), Reason.CHECK_FAILED, "math: no"),
        decided("wrong-tools", (*turns[:-1], Message("assistant", "43")), Reason.CHECK_FAILED, "math: no", tools_json=TOOLS),
    )
    for form in (ExportFormat.MESSAGES, ExportFormat.PREFERENCE):
        await exporting.export(form, tmp_path / form)
    command = (model_python(), "tests/model/train_on_exports.py", tmp_path / "messages", tmp_path / "preference", tmp_path)
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)  # noqa: ASYNC221 - alone
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-8000:]
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["conversational"] == [True, True]
    assert len(told["texts"]) == 14
    assert told["pairs"] == 2
    assert all(math.isfinite(loss) for loss in told["losses"])
    [with_tools] = [text for text in told["texts"] if "call-1" in text]
    assert '"name": "multiply"' in with_tools
    assert "None" not in "".join(told["texts"])
