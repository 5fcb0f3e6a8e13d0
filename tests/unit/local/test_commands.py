"""The commands and configurations of the servers."""

import json
import stat
import sys
from dataclasses import replace

import pytest

from headrace.local import kafka, kafka_jars, minio, object_store
from headrace.local.cache import cache_folder
from headrace.local.kafka import Kafka, Node, kafka_cluster, properties
from headrace.local.launch import Place, StackFailed
from headrace.local.object_store import ObjectStore
from headrace.local.services import LocalService


def _place(tmp_path, part):
    return Place(tmp_path / part.name, tmp_path / "log", {name: 20_000 + n for n, name in enumerate(part.port_names)})


def test_one_node_needs_no_replicas(tmp_path):
    """A laptop's broker keeps one copy, and is not given up by its own controller for a pause."""
    node = Node(1, 9092, 9093)
    settings = properties(node, (node,), tmp_path)
    assert settings["transaction.state.log.replication.factor"] == 1
    assert settings["min.insync.replicas"] == 1
    assert settings["broker.session.timeout.ms"] == 30_000
    assert settings["auto.create.topics.enable"] == "false"


@pytest.mark.parametrize(("asked", "told"), [({}, "1"), ({"HEADRACE_PARTITIONS": "4"}, "4")])
def test_one_node_has_one_partition_unless_more_are_asked_for(asked, told, tmp_path, monkeypatch):
    """Each service runs once on a laptop; whoever runs more replicas there says so."""
    monkeypatch.setattr(kafka, "kafka_jars", lambda _: tmp_path)
    monkeypatch.setattr(kafka, "run_tool", lambda *_, **__: "")
    launch = Kafka().prepare(replace(_place(tmp_path, Kafka()), environment=asked), print)
    assert launch.tells["HEADRACE_PARTITIONS"] == told
    assert launch.tells["HEADRACE_KAFKA"] == "127.0.0.1:20000"


def test_a_killed_broker_starts_behind_its_old_session(tmp_path, monkeypatch):
    """Alone, its controller ends that; of several, the others do, in twice the time after which they give it up."""
    monkeypatch.setattr(kafka, "kafka_jars", lambda _: tmp_path)
    monkeypatch.setattr(kafka, "run_tool", lambda *_, **__: "")
    first = kafka_cluster(3, set())[0]
    for part, ends in ((Kafka(), str(tmp_path / "kafka" / "controller" / "server.properties")), (first, "12")):
        command = part.prepare(_place(tmp_path, part), print).command
        assert command[2] == "headrace.local.killed_broker"
        assert command[command.index("--") - 1] == ends
        assert command[-1] == str(tmp_path / part.name / "server.properties")
    alone = (tmp_path / "kafka" / "controller" / "server.properties").read_text().splitlines()
    assert {"process.roles=controller", "broker.session.timeout.ms=100"} <= set(alone)
    assert not any(line.startswith("advertised.listeners") for line in alone)


def test_three_nodes_keep_three_copies(tmp_path):
    """A cluster bears the loss of one node."""
    nodes = tuple(Node(n, 9000 + n, 9100 + n) for n in (1, 2, 3))
    settings = properties(nodes[1], nodes, tmp_path)
    assert settings["default.replication.factor"] == 3
    assert settings["min.insync.replicas"] == 2
    assert settings["transaction.state.log.min.isr"] == 2
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103"
    assert settings["node.id"] == 2


def test_the_nodes_of_a_cluster_know_each_other():
    """No two share a port, and all are told the same members."""
    taken = {20_000}
    cluster = kafka_cluster(3, taken)
    assert [part.name for part in cluster] == ["kafka-1", "kafka-2", "kafka-3"]
    assert {part.nodes for part in cluster} == {cluster[0].nodes}
    assert len(taken) == 7


def test_other_jars_are_refused(tmp_path):
    """What is not named by the lock is not run."""
    (tmp_path / "kafka-clients-3.9.1.jar").write_bytes(b"")
    with pytest.raises(StackFailed, match=r"kafka-clients-3\.9\.1\.jar"):
        kafka_jars.check_jars(tmp_path)


def test_the_lock_names_one_version_of_kafka():
    """All of Kafka's own jars are of the version asked for."""
    names = [line.split()[1] for line in kafka_jars.LOCK.read_text().splitlines()]
    own = [name for name in names if name.startswith("kafka")]
    assert len(own) > 10
    assert all(name.endswith(f"-{kafka_jars.VERSION}.jar") for name in own)


def test_the_object_store_keeps_its_key(tmp_path, monkeypatch):
    """The key is made once, kept from others, and told to clients."""
    monkeypatch.setenv(object_store.CHOICE, "seaweedfs")
    place = _place(tmp_path, ObjectStore())
    first, again = (ObjectStore().prepare(place, print) for _ in range(2))
    assert first.tells == again.tells
    config = tmp_path / "object-store" / "seaweedfs" / "s3.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert json.loads(config.read_text())["identities"][0]["credentials"][0]["secretKey"] == first.tells["HEADRACE_S3_SECRET_KEY"]
    assert "-master.telemetry=false" in first.command


def test_minio_serves_where_its_binary_is_found(tmp_path, monkeypatch):
    """Its presence is enough for a new state folder."""
    _program(tmp_path / "bin" / "minio")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(object_store.CHOICE, raising=False)
    launch = ObjectStore().prepare(_place(tmp_path, ObjectStore()), print)
    assert launch.command[:2] == (str(tmp_path / "bin" / "minio"), "server")
    assert launch.environment["MINIO_ROOT_PASSWORD"] == launch.tells["HEADRACE_S3_SECRET_KEY"]


def test_data_that_is_there_decides_which_server_serves_it(tmp_path, monkeypatch):
    """A binary that turns up later does not hide what SeaweedFS keeps."""
    monkeypatch.delenv(object_store.CHOICE, raising=False)
    _program(tmp_path / "bin" / "minio")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "seaweedfs").mkdir()
    assert object_store.choose(tmp_path) == "seaweedfs"


@pytest.mark.parametrize(("asked", "says"), [("ceph", "seaweedfs or minio"), ("minio", "no `minio` on the PATH")])
def test_a_choice_that_cannot_be_met_is_an_error(tmp_path, monkeypatch, asked, says):
    """The message says what may be set."""
    monkeypatch.setenv(object_store.CHOICE, asked)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(minio.BINARY, raising=False)
    with pytest.raises(StackFailed, match=says):
        object_store.choose(tmp_path)


def test_the_minio_that_was_built_is_used_where_it_is_asked_for(tmp_path, monkeypatch):
    """A named binary comes first, then the PATH, then the one that was built; alone it changes no default."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(minio.BINARY, raising=False)
    monkeypatch.delenv(object_store.CHOICE, raising=False)
    assert minio.find_minio() is None
    built = cache_folder() / f"minio-{minio.VERSION.rpartition('-')[2]}" / "minio"
    _program(built)
    assert minio.find_minio() == built
    assert object_store.choose(tmp_path) == "seaweedfs"
    monkeypatch.setenv(object_store.CHOICE, "minio")
    assert object_store.choose(tmp_path) == "minio"
    _program(tmp_path / "bin" / "minio")
    assert minio.find_minio() == tmp_path / "bin" / "minio"
    monkeypatch.setenv(minio.BINARY, str(tmp_path / "nothing"))
    with pytest.raises(StackFailed, match="no such program"):
        minio.find_minio()


def test_a_service_is_told_where_the_servers_are(tmp_path):
    """What the servers told reaches it, with its own ports."""
    service = LocalService("gateway", ("kafka",))
    place = Place(tmp_path, tmp_path / "log", {"health": 1, "grpc": 2, "http": 3}, {"HEADRACE_KAFKA": "a:1"})
    launch = service.prepare(place, print)
    assert launch.command == (sys.executable, "-m", "headrace.cli.main", "run", "gateway")
    assert launch.environment["HEADRACE_KAFKA"] == "a:1"
    assert launch.environment["HEADRACE_HEALTH_PORT"] == "1"
    assert launch.tells == {"HEADRACE_GATEWAY_GRPC_PORT": "2", "HEADRACE_GATEWAY_HTTP_PORT": "3"}


def _program(path):
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
