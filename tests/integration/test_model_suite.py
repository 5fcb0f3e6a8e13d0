"""The model side's own tests, in the model side's environment."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

from headrace.local.checkout import model_python

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.connected
@pytest.mark.model
@pytest.mark.timeout(900)
def test_the_model_sides_tests_pass_in_its_own_environment() -> None:
    """Torch lives in another environment, which has no pytest of its own: ours is lent to it."""
    packages = sysconfig.get_path("purelib")
    command = (model_python(), "tests/model/lent_pytest.py", packages, "tests/model", "-q", "-p", "no:cacheprovider")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
