"""A client at each of the gateway's doors; each sends again what it does not know to be received."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import Producer

from headrace.core.topics import INGEST
from headrace.local.ports import LOCALHOST
from tests.e2e.spine import ROOT, Spine

ENTRIES = ("grpc", "http", "kafka")
_WAIT_S_MAX = 300


class Client(Protocol):
    """Whoever brings samples to a door."""

    def send(self, line: Mapping[str, Any]) -> None:
        """One sample; it may be on its way for a while."""

    def end(self) -> None:
        """Nothing follows."""

    def join(self) -> None:
        """Waits until the door has taken every sample; fails where it did not."""


class PipedClient:
    """A command that reads JSON Lines from its standard input, and ends once all were received."""

    def __init__(self, spine: Spine, *command: str) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", *command),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=spine.environment_of_commands(), cwd=ROOT, text=True,
        )  # fmt: skip

    def send(self, line: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def join(self) -> None:
        assert self._process.wait(_WAIT_S_MAX) == 0

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        self._process.kill()
        self._process.wait()


class KafkaClient:
    """An ordinary producer of `headrace.ingest`: all replicas must have a record, else it writes it again, perhaps twice."""

    def __init__(self, spine: Spine, dataset: str) -> None:
        quiet = {"log_level": 0}  # brokers that are away are no news here
        self._producer = Producer({"bootstrap.servers": spine.environment["HEADRACE_KAFKA"], "acks": "all", **quiet})
        self._headers: dict[str, str | bytes | None] = {"dataset": dataset}
        self._failures: list[str] = []

    def send(self, line: Mapping[str, Any]) -> None:
        self._producer.produce(INGEST.name, json.dumps(line), line["id"], headers=self._headers, on_delivery=self._told)
        self._producer.poll(0)

    def end(self) -> None:
        """Every record is on its way."""

    def join(self) -> None:
        assert self._producer.flush(_WAIT_S_MAX) == 0
        assert not self._failures

    def _told(self, failure: object, _: object) -> None:
        if failure is not None:
            self._failures.append(str(failure))


@contextlib.contextmanager
def clients(spine: Spine, dataset: str, *, broken: bool) -> Iterator[tuple[Client, ...]]:
    """A client for each of ENTRIES, in their order. If `broken`, the one of HTTP breaks its connections too, at any point."""
    url = f"http://{LOCALHOST}:{spine.environment['HEADRACE_GATEWAY_HTTP_PORT']}/v1/datasets/{dataset}/samples"
    grpc = PipedClient(spine, "headrace.cli.main", "submit", "--dataset", dataset, "--patience", "240", "-")
    http = PipedClient(spine, "tests.e2e.http_client", url, *((dataset,) if broken else ()))
    try:
        yield grpc, http, KafkaClient(spine, dataset)
    finally:
        grpc.kill()
        http.kill()


def share_of(number: int) -> int:
    """Which of ENTRIES the line of this number goes through."""
    return number % len(ENTRIES)


def sent(lines: Sequence[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """How often each id goes through each entry."""
    return Counter((ENTRIES[share_of(number)], line["id"]) for number, line in enumerate(lines))
