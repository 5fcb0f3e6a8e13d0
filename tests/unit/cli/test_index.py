"""`headrace index`: what it shows, and that it says plainly when it cannot."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from headrace.adapters.vector_index.edge import EdgeEngine
from headrace.adapters.vector_index.qdrant import QdrantVectorIndex
from headrace.cli.main import app
from headrace.core.ports.vector_index import Content, PendingPoint, Space, Submission, Vectors
from headrace.local.launch import Place
from headrace.local.services import LocalService

VECTOR = np.array([1, 0, 0, 0], np.float32)


async def filled(folder: Path) -> None:
    index = QdrantVectorIndex(EdgeEngine(folder))
    space = Space("maths", "smol", "3")
    points = [PendingPoint(Submission(space, f"s{n}", 0, n), Content(f"c{n}", "p"), Vectors(VECTOR, VECTOR), 1.0) for n in (1, 2)]
    await index.enter(points)
    await index.accept([points[0].submission])
    await index.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "no-stack"))
    monkeypatch.setenv("HEADRACE_DIVERSITY_INDEX_PATH", str(tmp_path / "index"))
    return tmp_path / "index"


def test_the_index_is_shown_by_dataset_and_model(folder: Path) -> None:
    """For people in a line, for scripts as JSON."""
    asyncio.run(EdgeEngine(folder).close())
    assert CliRunner().invoke(app, ["index", "show"]).stdout == "the index is empty\n"
    asyncio.run(filled(folder))
    shown = CliRunner().invoke(app, ["index", "show"]).stdout
    assert "maths" in shown
    assert "smol 3, 4 dimensions: 1 accepted, 1 in flight, the oldest for" in shown
    [row] = json.loads(CliRunner().invoke(app, ["index", "show", "--json"]).stdout)
    assert (row["dataset"], row["accepted"], row["pending"], row["oldest_pending_s"] > 1e9) == ("maths", 1, 1, True)


def test_the_stack_kept_here_is_meant_where_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it is down and tells no settings; a folder without an index is not made."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    monkeypatch.delenv("HEADRACE_DIVERSITY_INDEX_PATH", raising=False)
    missing = CliRunner().invoke(app, ["index", "show"])
    assert (missing.exit_code, f"there is no index in {tmp_path}/diversity/index" in missing.output) == (1, True)
    assert not (tmp_path / "diversity").exists()
    place = Place(tmp_path / "diversity", tmp_path / "diversity.log", {"health": 1}, {})
    told = LocalService("diversity", ()).prepare(place, lambda _: None).tells
    asyncio.run(filled(Path(told["HEADRACE_DIVERSITY_INDEX_PATH"])))
    assert "1 accepted, 1 in flight" in CliRunner().invoke(app, ["index", "show"]).stdout


def test_an_index_in_use_is_said_plainly(folder: Path) -> None:
    """One line that names the folder and what to stop."""
    engine = EdgeEngine(folder)
    done = CliRunner().invoke(app, ["index", "show"])
    asyncio.run(engine.close())
    assert done.exit_code == 1
    assert "is open in another process: stop the diversity service first" in done.output
    assert "Traceback" not in done.output
