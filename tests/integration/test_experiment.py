"""`headrace experiment` from end to end, and small: real conversations, real training, and a model that counts words."""

import json
import subprocess
from pathlib import Path

import pytest

from headrace.core.rounds.rules import Axis
from headrace.experiment.base_rows import base_rows
from headrace.experiment.damage import Damage
from headrace.experiment.planted_report import COMBINED, DECISION
from headrace.local.checkout import model_python
from headrace.local.signals import default_weights
from tests.fakes.commands import command

pytestmark = [pytest.mark.connected, pytest.mark.model, pytest.mark.timeout(300)]

ROWS, OF_A_KIND, SEED = 40, 4, 0
DIGITS = "0123456789" * 10_000
"""So common that the model says them when it is asked for a score."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to which the words of other problems are common, and those of small talk are not."""
    folder = tmp_path_factory.mktemp("unigram")
    others = base_rows(rows=1, held_out=80, chars_max=5_000, seed=SEED).held_out
    (folder / "texts").write_text("\n".join(turn.content for sample in others for turn in sample.messages) + DIGITS)
    script = Path(__file__).with_name("unigram_base.py")
    subprocess.run((model_python(), script, default_weights(print), folder / "texts", folder / "base"), check=True)
    return folder / "base"


def test_a_small_experiment_fills_its_table_and_finds_what_is_off_topic(base: Path, tmp_path: Path):
    """Each kind of damage has its area on each axis and by the decision; loss and the decision find small talk without fail."""
    done = command(
        {}, "experiment", "--planted-only", "--rows", str(ROWS), "--seed", str(SEED), "--held-out", "1", "--device", "cpu",
        "--steps", "1", "--batch-rows", "1", "--accumulate", "1", "--model", str(base), "--folder", str(tmp_path / "made"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    planted = json.loads((tmp_path / "made" / "experiment.json").read_text())["planted"]
    axes = {axis.value for axis in Axis}
    assert set(planted["thresholds"]) == axes
    assert set(planted["auroc"]) == {kind.value for kind in Damage}
    for kind, areas in planted["auroc"].items():
        assert set(areas) == {*axes, COMBINED, DECISION}
        assert all((each["positive"], each["negative"]) == (OF_A_KIND, ROWS // 2) for each in areas.values()), areas
        assert f"│ {kind.replace('_', ' ')}" in done.stdout
    selected = planted["selected"]
    assert {name: each["rows"] for name, each in selected.items()} == dict.fromkeys(Damage, OF_A_KIND) | {"clean": ROWS // 2}
    assert len(planted["rows"]) == ROWS
    assert None not in [row[name] for row in planted["rows"] for name in ("loss_pre", "loss_post", "density", "quality")]
    off_topic = planted["auroc"][Damage.OFF_TOPIC]
    assert off_topic[Axis.HARD]["low"] > 0.9
    assert off_topic[COMBINED]["low"] > 0.9
    assert selected[Damage.OFF_TOPIC]["any"] == OF_A_KIND
