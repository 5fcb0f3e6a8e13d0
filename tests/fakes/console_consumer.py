"""Kafka's own console consumer, beside the broker's jars of the local stack, which are not all of the distribution."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from headrace.local.cache import once
from headrace.local.kafka import java_command
from headrace.local.kafka_jars import REPOSITORY, VERSION, kafka_jars

TOOLS_SHA256 = "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c"
KEY_ENDS, RECORD_ENDS = "\x1ekey\x1e", "\x1erecord\x1e"
"""Nothing that a test's record holds."""


def read_topic(bootstrap: str, topic: str, folder: Path, *, records: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of so many committed records, from the topic's beginning; fewer where there are no more."""
    jars = folder / "jars"
    jars.mkdir()
    for jar in (*kafka_jars(lambda _: None).glob("*.jar"), *once(f"kafka-tools-{VERSION}", _fetch).glob("*.jar")):
        (jars / jar.name).symlink_to(jar)
    shown = {"print.key": "true", "key.separator": KEY_ENDS, "line.separator": RECORD_ENDS}
    arguments = [part for name, value in shown.items() for part in ("--formatter-property", f"{name}={value}")]
    command = java_command(
        jars, folder, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic,
        "--from-beginning", "--isolation-level", "read_committed", "--max-messages", str(records), "--timeout-ms", "30000",
        *arguments,
    )  # fmt: skip
    (folder / "log4j2.properties").write_text("rootLogger.level=off\n")
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    found = done.stdout.split(RECORD_ENDS.encode())[:-1]
    return [(key, value) for key, value in (record.split(KEY_ENDS.encode(), 1) for record in found)]


def _fetch(folder: Path) -> None:
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - as in headrace.local.kafka_jars
    from jgo.maven import MavenContext  # noqa: PLC0415 - likewise

    remote = {"central": os.environ.get(REPOSITORY) or MAVEN_CENTRAL_URL}
    context = MavenContext(repo_cache=folder / "resolving", remote_repos=remote, timeout=60)
    jar = Path(context.project("org.apache.kafka", "kafka-tools").at_version(VERSION).artifact().resolve())
    assert hashlib.sha256(jar.read_bytes()).hexdigest() == TOOLS_SHA256
    shutil.move(jar, folder / jar.name)
    shutil.rmtree(folder / "resolving")
