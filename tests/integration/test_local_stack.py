"""`headrace up` and `down` on real servers, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace.local.running import running
from headrace.local.stack import part_names
from headrace.local.state import read_state
from tests.e2e.spine import StubTriton
from tests.fakes.commands import command

pytestmark = [pytest.mark.connected, pytest.mark.timeout(400)]

SERVERS = "kafka,object-store"
SPINE = "gateway,scoring,diversity,admission,datasets"


class Stack:
    """The command line in a state folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        self.environment["HEADRACE_HOME"] = str(home)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs `headrace`."""
        command = (sys.executable, "-m", "headrace.cli.main", *arguments)
        return subprocess.run(command, env=self.environment | settings, capture_output=True, text=True, check=False, timeout=300)

    def does(self, *arguments: str, stdin: str | None = None) -> str:
        """What a command printed that is not to fail; in this process, which is quicker."""
        result = command(self.environment, *arguments, stdin=stdin)
        assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
        return result.stdout

    def tells(self, *arguments: str) -> Any:
        """What a command told in JSON."""
        return json.loads(self.does(*arguments))

    def up(self, *arguments: str, **settings: str) -> None:
        """Brings it up."""
        result = self.run("up", *arguments, **settings)
        assert result.returncode == 0, result.stderr

    def status(self) -> dict[str, Any]:
        """What a script reads."""
        told: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return told

    def processes(self) -> list[psutil.Process]:
        """Everything that was started in this state folder, zombies aside."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("HEADRACE_HOME") == str(self.home)
                if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait(self, condition, within_s: float = 120) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, self.run("status").stdout
            time.sleep(0.1)


@pytest.fixture
def stack(tmp_path):
    """A stack that is down, and is down again afterwards."""
    stack = Stack(tmp_path / "home")
    yield stack
    stack.run("down")
    left = stack.processes()
    for process in left:
        process.kill()
    assert left == []


def test_down_leaves_nothing_running_and_up_finds_everything_again(stack, tmp_path):
    """Ports and data survive, a decided sample and its version among them; processes do not."""
    with running(StubTriton(), tmp_path / "stub", killed=True) as stub:
        stack.up("--only", f"{SERVERS},{SPINE}", HEADRACE_DATASETS_PACE_S="0.1", **stub.tells)
        told = stack.status()["environment"]
        sample = {"id": "kept", "messages": [{"role": "user", "content": "6 x 7?"}, {"role": "assistant", "content": "42"}]}
        stack.does("dataset", "create", "notes")
        stack.does("submit", "--dataset", "notes", "-", stdin=json.dumps(sample))
        stack.wait(lambda: stack.tells("account", "--dataset", "notes", "--json")["accepted"] == 1)
        stack.does("dataset", "cut", "notes", "--wait")

    assert stack.run("down").returncode == 0
    assert stack.processes() == []
    assert stack.status()["phase"] == "down"
    assert stack.run("status").returncode == 1

    stack.up("--only", SERVERS)
    assert told == told | stack.status()["environment"]
    topics = stack.tells("topics", "ls", "--json")
    assert topics
    assert all(topic["partitions"] > 0 for topic in topics)
    account = stack.tells("account", "--dataset", "notes", "--json")
    assert (account["submitted"], account["accepted"], account["in_flight"]) == (1, 1, 0)
    [ending] = stack.tells("sample", "show", "kept", "--dataset", "notes", "--json")["endings"]
    assert ending["dossier"]["decisions"][-1]["verdict"] == "accepted"
    assert stack.tells("dataset", "rows", "notes", "--json")["sample_id"] == "kept"


def test_a_killed_server_comes_back_on_its_ports(stack):
    """The death is counted, nobody has to do anything."""
    stack.up("--only", SERVERS)
    before, killed_at = stack.status(), time.monotonic()
    for name in SERVERS.split(","):
        os.kill(before["processes"][name]["pid"], signal.SIGKILL)
    stack.wait(lambda: all(process["restarts"] == 1 for process in stack.status()["processes"].values()))
    stack.wait(lambda: stack.run("status").returncode == 0)
    after = stack.status()
    assert after["environment"] == before["environment"]
    assert {name: process["ports"] for name, process in after["processes"].items()} == {
        name: process["ports"] for name, process in before["processes"].items()
    }
    assert all(process["uptime_s"] < time.monotonic() - killed_at for process in after["processes"].values())


def test_nothing_outlives_a_killed_supervisor_for_long(stack):
    """The servers are told to end by the kernel, and the next `up` starts anew whatever the last one left."""
    stack.up("--only", SERVERS)
    os.kill(read_state(stack.home).pid, signal.SIGKILL)
    assert stack.run("status").returncode == 1
    stack.wait(lambda: stack.processes() == [])

    stack.up("--only", "kafka")
    assert set(stack.status()["processes"]) == {"kafka"}


def test_a_second_up_changes_nothing(stack):
    """It is content with what runs, and says so when that is not all that was asked for."""
    stack.up("--only", "object-store")
    before = stack.status()["processes"]["object-store"]["pid"]
    stack.up("--only", "object-store")
    result = stack.run("up", "--only", SERVERS)
    assert result.returncode == 1
    assert "up already, without kafka" in result.stderr
    assert stack.status()["processes"]["object-store"]["pid"] == before


def test_a_server_of_ones_own_is_not_started_here(stack, kafka):
    """Its address is what everybody is told."""
    stack.up("--no-services", "--only", SERVERS, HEADRACE_KAFKA=kafka)
    told = stack.status()
    processes = told["processes"]
    assert told["environment"]["HEADRACE_KAFKA"] == kafka
    assert processes["kafka"]["state"] == "external"
    assert processes["kafka"]["detail"] == kafka
    assert processes["object-store"]["state"] == "up"


def test_a_part_that_fails_is_explained_and_leaves_nothing(stack):
    """The error names the part, its log and what may be set."""
    result = stack.run("up", "--only", "kafka,object-store", HEADRACE_LOCAL_S3="ceph")
    assert result.returncode == 1
    assert "object-store: HEADRACE_LOCAL_S3 is 'ceph': it may be seaweedfs or minio" in result.stderr
    assert stack.processes() == []


def test_a_wrong_name_is_refused(stack):
    """With the list of right ones."""
    result = stack.run("up", "--only", "postgres")
    assert result.returncode == 2
    assert "postgres" in result.stderr
    assert stack.processes() == []


def test_an_interrupted_up_leaves_nothing(stack):
    """Ctrl-C takes down what had come up so far."""
    # What was itself started in the background ignores the signal, and so would its children.
    command = ("env", "--default-signal=INT", sys.executable, "-m", "headrace.cli.main", "up", "--only", SERVERS)
    for _ in range(5):  # on a busy machine everything may be up before the signal gets there: then once more
        process = subprocess.Popen(command, env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.wait(lambda: any(part.pid for part in read_state(stack.home).processes.values()))
        process.send_signal(signal.SIGINT)
        interrupted = process.wait(120) != 0
        if interrupted:
            break
        stack.run("down")
    assert interrupted
    assert stack.processes() == []


@pytest.mark.model
def test_everything_comes_up_and_a_killed_service_comes_back(stack):
    """All servers and all services serve, known by their state folder; nobody has to wait for a restart by hand."""
    stack.up()
    processes = stack.status()["processes"]
    assert set(processes) == set(part_names())
    groups = {process["pid"] for process in processes.values()}
    of_the_stack = stack.processes()
    assert [process for process in psutil.process_iter() if _group(process) in groups and process not in of_the_stack] == []
    os.kill(processes["admission"]["pid"], signal.SIGKILL)
    stack.wait(lambda: stack.status()["processes"]["admission"]["restarts"] == 1)
    stack.wait(lambda: stack.run("status").returncode == 0)


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0
