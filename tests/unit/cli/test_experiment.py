"""`headrace experiment`: what cannot be is told before anything is begun."""

import sys

import pytest
from typer.testing import CliRunner

from headrace.cli import main
from headrace.experiment.model_side import ModelSideFailed, require_device


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command in this process, with a model environment that has no torch."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("HEADRACE_LOCAL_MODEL_ENV", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(main.app, ["experiment", "--folder", str(tmp_path / "made"), *arguments])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--learning-rate", "-1"), "--learning-rate: should be greater than 0, not -1.0"),
        (("--learning-rate", "0"), "--learning-rate: should be greater than 0, not 0.0"),
        (("--learning-rate", "nan"), "--learning-rate: should be"),
        (("--learning-rate", "inf"), "--learning-rate: should be a finite number, not inf"),
        (("--seed", str(2**31 - 2)), "--seed with --seeds: should be less than or equal to 2147483647"),
        (("--device", "cuda"), "--device cuda: torch in "),
    ],
)
def test_what_cannot_be_is_one_line_and_begins_nothing(run, tmp_path, arguments, told):
    """Not a trace, and not after minutes; no folder is made."""
    found = run(*arguments)
    assert found.exit_code == 1
    assert found.stderr.startswith(f"error: {told}")
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_only_a_gpu_that_is_asked_for_is_looked_for(tmp_path):
    """Torch takes seconds to be imported."""
    for device in ("auto", "cpu"):
        require_device(device, tmp_path / "none")
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho True\n")
    script.chmod(0o755)
    require_device("cuda", script)
    script.write_text("#!/bin/sh\necho False\n")
    with pytest.raises(ModelSideFailed, match="sees no GPU; leave --device at auto"):
        require_device("cuda", script)
