"""What the trainer holds out of a version is what an export of it sets apart."""

import json

import pytest

from headrace.client import Gathered
from headrace.core.exports import ExportFormat
from services.trainer.gathering import gather_version
from tests.fakes.exporting import Exporting


@pytest.mark.parametrize("seed", ["", "mine"])
async def test_an_export_with_share_and_seed_of_the_policy_is_the_trainers_split(tmp_path, seed):
    """Row by row, and the card names the seed."""
    exporting = await Exporting.of_every_kind()
    await exporting.export(ExportFormat.JSONL, tmp_path / "out", held_out_share=0.3, held_out_seed=seed)
    (path,) = (tmp_path / "out" / "data").glob("test-*")
    exported = {json.loads(line)["sample_id"] for line in path.read_bytes().splitlines()}
    with Gathered(tmp_path / "table.sqlite", seed) as gathered:
        await gather_version(gathered, exporting.store, await exporting.store.version("maths"))
        assert exported == {sample_id for sample_id, _, _ in gathered.held_out(0.3)}
        assert 0 < gathered.counts(0.3)[1] < sum(gathered.counts(0.3))
    assert ("the seed `mine`" in (tmp_path / "out" / "README.md").read_text()) == bool(seed)
