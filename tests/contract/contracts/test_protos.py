"""The protos: well formed, compatible with what has landed, and generated into just what is committed."""

import filecmp
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.contracts.landing import LANDED, ROOT, buf


def test_protos_are_well_formed():
    """Buf's standard rules hold: packages match folders, enums start at UNSPECIFIED, names are regular."""
    done = buf("lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_protos_can_replace_the_landed_contract():
    """Nothing that others may rely on was renamed, renumbered, retyped or removed since the last landing."""
    done = buf("breaking", "--against", LANDED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_breaking_change_is_caught(tmp_path: Path):
    """The guard guards: a field given another type is refused, a field added is not."""
    protos = tmp_path / "protos"
    shutil.copytree(ROOT / "protos", protos)
    changed = protos / "headrace_protos/sample/v1/sample.proto"
    text = changed.read_text()
    changed.write_text(text.replace("string metadata_json = 10;", "string metadata_json = 10;\n  string added = 900;"))
    assert buf("breaking", protos, "--against", LANDED).returncode == 0
    changed.write_text(text.replace("string metadata_json = 10;", "bytes metadata_json = 10;"))
    assert buf("breaking", protos, "--against", LANDED).returncode != 0


def test_generated_code_is_what_the_protos_say(tmp_path: Path):
    """The committed code equals what `make protos` makes: run it after every change of a proto."""
    done = subprocess.run(["make", "protos", f"PROTOS_OUT={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    committed, made = ROOT / "libs/headrace_protos", tmp_path / "headrace_protos"
    assert _files(committed) == _files(made)
    differing = [name for name in _files(made) if not filecmp.cmp(committed / name, made / name, shallow=False)]
    if differing:
        pytest.fail(f"run `make protos`: {differing} differ from what the protos say")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py*") if "__pycache__" not in path.parts)
