"""`headrace submit` against a gateway on real sockets."""

import asyncio
import gzip
import json
import threading

import pytest
from typer.testing import CliRunner

from headrace.cli import submit as command
from tests.fakes.gateway import HOST, lines, sample, started


@pytest.fixture
def gateway():
    """A gateway on an event loop of its own, since the command starts one too."""
    import contextlib  # noqa: PLC0415 - only here

    ready, stop, found = threading.Event(), asyncio.Event(), {}

    async def serve():
        found["loop"] = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            found["gateway"] = await started(stack)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(10)
    yield found["gateway"]
    found["loop"].call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture
def run(gateway):
    """Runs the command in this process, pointed at the gateway."""
    environment = {"HEADRACE_GATEWAY_GRPC_PORT": str(gateway.grpc_port), "HEADRACE_GATEWAY": None}
    return lambda *arguments, text=None: CliRunner(env=environment).invoke(command.app, ["-d", "demo", *arguments], input=text)


def test_files_plain_and_packed_and_standard_input(run, gateway, tmp_path):
    """All in one go, in order."""
    (tmp_path / "a.jsonl").write_bytes(lines(sample("1"), sample("2")) + b"\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(sample("3"))))
    done = run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.gz"), "-", text=lines(sample("4")))
    assert (done.exit_code, done.stderr.strip()) == (0, "4 received, 0 refused")
    assert [dossier.sample.messages[1].content for dossier in gateway.publisher.dossiers] == ["1", "2", "3", "4"]


def test_refusals_name_file_line_and_reason(run, gateway, tmp_path, monkeypatch):
    """And the exit code tells that there were some."""
    monkeypatch.setattr(command, "LINE_BYTES_MAX", 1_000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(sample("1")) + b"[1]\n" + b"x" * 5_000 + b"\n" + lines(sample("2", id="a/b"), sample("3")))
    done = run(str(path))
    assert done.exit_code == 1
    assert f"{path}:2: not_an_object: a sample is a JSON object, not an array" in done.stderr
    assert f"{path}:3: too_large" in done.stderr
    assert f"{path}:4: bad_id" in done.stderr
    assert "2 received, 3 refused" in done.stderr
    assert len(gateway.publisher.dossiers) == 2


def test_scripts_read_refusals_and_summary_as_json_lines(run):
    """One object for each refusal, the summary last."""
    done = run("-", "--json", text=lines({}, sample("1")))
    refusal, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.exit_code, refusal["file"], refusal["line"], refusal["code"]) == (1, "-", 1, "unknown_format")
    assert summary == {"summary": {"received": 1, "refused": 1, "codes": {"unknown_format": 1}, "failed": ""}}


def test_many_refusals_are_summed_up(run):
    """Nobody reads ten thousand lines."""
    done = run("-", text=b"{}\n" * 100)
    assert done.stderr.count("unknown_format:") == 20
    assert "... and 80 more" in done.stderr
    assert "0 received, 100 refused (unknown_format 100)" in done.stderr


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(lines(sample()))[:20]])
def test_files_that_cannot_be_read(run, tmp_path, content):
    """A broken or missing file is an error of one line."""
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    for name in (str(path), str(tmp_path / "missing.jsonl")):
        done = run(name)
        assert done.exit_code == 1
        assert "error:" in done.stderr
        assert "0 received" in done.stderr


def test_a_gateway_that_is_not_there():
    """The message names the setting."""
    runner = CliRunner(env={"HEADRACE_GATEWAY": f"{HOST}:1"})
    done = runner.invoke(command.app, ["-d", "demo", "--patience", "0.1", "-"], input=lines(sample()))
    assert done.exit_code == 1
    assert "HEADRACE_GATEWAY" in done.stderr
    assert "1 samples have no answer" in done.stderr


def test_a_missing_or_wrong_token_is_named():
    """Not the address, which was right."""
    told = {given: command._hint("UNAUTHENTICATED: no", token=given) for given in ("", "wrong")}
    assert told == {"": "Give a token: --token, or HEADRACE_TOKEN.", "wrong": "Is the token right (--token, HEADRACE_TOKEN)?"}
    assert "HEADRACE_GATEWAY" in command._hint("UNAVAILABLE: refused", token="")
