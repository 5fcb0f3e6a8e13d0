"""What each extra of the package brings is what its part needs; whoever lacks one is told which, in a line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli.failures import _EXTRAS
from tests.fakes.slim_install import ROOT, brought, extras, imports_of

SERVICES = sorted(folder.parent.name for folder in (ROOT / "services").glob("*/app.py"))
COMMANDS = sorted(file.stem for file in (ROOT / "libs/headrace/cli").glob("[a-z]*.py"))
CLIENT = sorted(file.stem for file in (ROOT / "libs/headrace/client").glob("[a-z]*.py"))
CHECKS = [file.stem for file in (ROOT / "libs/headrace/checks").glob("*.py")]
# What puts everything together, or is there for the local stack and its demonstration, whose extras say so.
ELSEWHERE = {"main", "stack", "demo", "experiment", "index"}


def lacking(module: str, *wanted: str) -> dict[str, str]:
    return {name: by for name, by in imports_of(module).items() if name not in brought(*wanted)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_needs_its_own_extra(service):
    """Whatever it may import, now or later, comes with `headrace[<service>]`."""
    assert lacking(f"services.{service}.app", service) == {}


def test_checks_need_the_extra_of_validation():
    """They are loaded by name, where no import tells of them."""
    assert {check: lacking(f"headrace.checks.{check}", "validation") for check in CHECKS} == {check: {} for check in CHECKS}


@pytest.mark.parametrize("module", CLIENT)
def test_the_client_needs_its_extra(module):
    """`as_iterable_dataset` alone needs more, which comes with `headrace[trainer]`."""
    assert lacking(f"headrace.client.{module}", "trainer" if module == "iterable" else "client") == {}


def test_the_model_side_needs_what_trainers_have():
    """The masking that scoring does, for trainers of one's own: torch and transformers are theirs."""
    assert set(lacking("headrace.lm.training_rows", "trainer")) <= {"torch", "transformers", "safetensors"}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ELSEWHERE])
def test_a_command_needs_the_extra_for_commands(command):
    """One extra is enough to talk to a stack that runs elsewhere."""
    assert lacking(f"headrace.cli.{command}", "cli") == {}


def test_an_extra_is_named_that_brings_the_package():
    """Whoever is told to install one gets what was lacking."""
    assert {package: extra for package, extra in _EXTRAS.items() if package not in brought(extra)} == {}
    assert set(_EXTRAS.values()) <= extras().keys()


def run(program: str, folder: Path, *wanted: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in such an install, in a folder without a stack."""
    program = f"from tests.fakes.slim_install import block_all_but\nblock_all_but(*{wanted!r})\n{program}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'libs'}", **environment},
    )  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_in_its_own_image(service, tmp_path):
    """As far as the first server that is not there, with nothing installed that its extra does not bring."""
    away = {"HEADRACE_KAFKA": "127.0.0.1:1", "HEADRACE_KAFKA_START_S": "0.2", "HEADRACE_S3_ENDPOINT": "127.0.0.1:1"}
    away |= {"HEADRACE_S3_START_S": "0", "HEADRACE_S3_ATTEMPTS_MAX": "1", "HEADRACE_SCORING_TRITON": "127.0.0.1:1"}
    away |= {"HEADRACE_REFINEMENT_URL": "http://127.0.0.1:1", "HEADRACE_CHAT_URL": "http://127.0.0.1:1"}
    away |= {"HEADRACE_DIVERSITY_INDEX_PATH": str(tmp_path / "index")}
    ran = run(
        f"from headrace.cli.main import main\nimport sys\nsys.argv = ['headrace', 'run', '{service}']\nmain()",
        tmp_path,
        service,
        **away,
    )
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "127.0.0.1:1" in ran.stderr.splitlines()[-1]


LINES = {
    ("topics", "ls"): "this command needs kafka: pip install 'headrace[cli]'",
    ("account",): "this command needs",
    ("submit", "-d", "x", "x.jsonl"): "this command needs grpc: pip install 'headrace[cli]'",
    ("subscribe", "x"): "this command needs",
    ("dataset", "ls"): "this command needs",
    ("dlq", "ls"): "this command needs",
    ("up",): "this command needs psutil: pip install 'headrace[local]'",
    ("run", "gateway"): "is not installed here: pip install 'headrace[gateway]'",
    ("env",): "no stack runs in",
}
"""What the base install says to each."""


def test_every_error_is_a_line_in_every_install(tmp_path):
    """With nothing but the base, and with the client's extra alone: no reporter needs more than the base."""
    walk = f"""
from typer.testing import CliRunner
from headrace.cli.main import app
for arguments in {list(LINES)!r}:
    done = CliRunner().invoke(app, arguments)
    print(done.exit_code, done.stderr.strip().replace(chr(10), "|") or repr(done.exception))
"""
    base = run(walk, tmp_path)
    for expected, told in zip(LINES.values(), base.stdout.splitlines(), strict=True):
        assert told.startswith("1 error: "), told
        assert "|" not in told
        assert expected in told
    client = [told for told in run(walk, tmp_path, "client").stdout.splitlines() if "samples have no answer" not in told]
    assert len(client) == len(LINES)
    assert [told for told in client if not told.startswith("1 error: ")] == []


@pytest.mark.parametrize(
    ("broker", "told"),
    [
        ("", "no stack runs here: start one with `headrace up`, or set HEADRACE_KAFKA to host:port of a broker"),
        ("127.0.0.1:1", "Kafka does not answer at 127.0.0.1:1 within 1 s: is HEADRACE_KAFKA right?"),
    ],
)
def test_a_script_without_a_broker_is_told_in_a_line(tmp_path, broker, told):
    """Which setting to change, below its own traceback; the Kafka client's own complaints are not printed."""
    program = """
from headrace.client import BrokerUnreachable, SubscribeLimits, subscribe
try:
    next(subscribe("notes", limits=SubscribeLimits(patience_s=1)))
except BrokerUnreachable as error:
    print(error)
"""
    ran = run(program, tmp_path, "client", **({"HEADRACE_KAFKA": broker} if broker else {}))
    assert (ran.stdout.strip(), ran.stderr) == (told, "")


def test_what_the_client_lacks_is_said(tmp_path):
    """The extra that brings it, by name."""
    ran = run("from headrace.client import as_iterable_dataset", tmp_path, "client")
    assert ran.stderr.splitlines()[-1] == (
        "ImportError: as_iterable_dataset needs Hugging Face datasets: pip install 'headrace[trainer]'"
    )
