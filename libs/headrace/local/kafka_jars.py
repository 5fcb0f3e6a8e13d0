"""Kafka's jars: resolved from a Maven repository by jgo, compared byte for byte with the lock, kept in the cache.

Run as a module, it writes the lock anew.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from headrace.local.cache import once
from headrace.local.launch import Say, StackFailed

logger = logging.getLogger("headrace.local")

VERSION = "4.3.1"
# Without the "!" jgo applies log4j's own dependency management to the whole set and picks kafka-clients 3.9.1, whereupon the
# broker dies. Kafka speaks slf4j 1.7, hence slf4j-impl and not slf4j2-impl, which would log nothing.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}+org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!"

LOCK = Path(__file__).with_name("kafka-jars.sha256")
"""One line for each jar, as `sha256sum` writes it: what the version above resolves to, and nothing else is run."""

REPOSITORY = "HEADRACE_LOCAL_MAVEN"
"""Setting that names another Maven repository than the central one."""

_ATTEMPTS_MAX = 3


def kafka_jars(say: Say) -> Path:
    """The folder of the jars; fetched the first time.

    Raises:
        StackFailed: the repository cannot be reached, or offers other bytes than the lock names.
    """
    return once(f"kafka-{VERSION}-{_digest(LOCK)[:8]}", partial(_fetch_checked, say=say))


def check_jars(folder: Path) -> None:
    """Compares the jars of a folder with the lock.

    Raises:
        StackFailed: a jar is missing, unexpected or different.
    """
    wanted = {name: digest for digest, name in (line.split() for line in LOCK.read_text().splitlines())}
    found = {jar.name: _digest(jar) for jar in folder.glob("*.jar")}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        raise StackFailed(f"Kafka's jars are not those of {LOCK.name}: {', '.join(differing)}")


def _fetch_checked(folder: Path, say: Say) -> None:
    say(f"fetching Apache Kafka {VERSION} (44 MB, once)")
    _fetch(folder)
    check_jars(folder)


def _fetch(folder: Path) -> None:
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415  # optional, and needed once

    repository = os.environ.get(REPOSITORY) or MAVEN_CENTRAL_URL
    work = folder / "resolving"  # kept between the attempts: what has come need not come again
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        try:
            resolved = _resolve(repository, work)
            break
        except (OSError, RuntimeError, ValueError) as error:  # jgo has no errors of its own
            logger.warning("attempt %d to fetch Apache Kafka: %s", attempt, error)
            if attempt == _ATTEMPTS_MAX:
                raise StackFailed(
                    f"could not fetch Apache Kafka from {repository}: {error}. "
                    f"{REPOSITORY} names another Maven repository, HEADRACE_KAFKA a broker of your own"
                ) from error
    for jar in resolved.rglob("*.jar"):
        shutil.move(jar, folder / jar.name)
    shutil.rmtree(work)


def _resolve(repository: str, work: Path) -> Path:
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415  # optional, and needed once
    from jgo.maven import MavenContext  # noqa: PLC0415

    context = MavenContext(repo_cache=work / "repository", remote_repos={"central": repository}, timeout=60)
    builder = EnvironmentBuilder(context, work / "environments", LinkStrategy.COPY)
    return Path(builder.from_endpoint(ENDPOINT).path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Writes the lock: what the endpoint resolves to today."""
    with tempfile.TemporaryDirectory() as name:
        _fetch(Path(name))
        jars = sorted(Path(name).glob("*.jar"), key=lambda jar: jar.name)
        LOCK.write_text("".join(f"{_digest(jar)}  {jar.name}\n" for jar in jars))


if __name__ == "__main__":
    main()
