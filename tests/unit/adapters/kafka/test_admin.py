"""What the broker is asked for when topics are created."""

from typing import Any

import pytest
from kafka.errors import KafkaError

from headrace.adapters.kafka.admin import KafkaAdmin, TopicSpec


class PretendedClient:
    """Creates topics, and remembers how; changes those it `has`, with their settings, as it is told, but for those `denied`."""

    def __init__(self, has: dict[str, dict[str, str]] | None = None) -> None:
        self.has = has or {}
        self.denied: set[str] = set()
        self.created: dict[str, Any] = {}

    def list_topics(self) -> list[str]:
        return list(self.has)

    def create_topics(self, wanted: dict[str, Any], *, raise_errors: bool) -> dict[str, Any]:
        assert not raise_errors
        self.created |= wanted
        return {"topics": [{"name": name, "error_code": 0} for name in wanted]}

    def describe_configs(self, asked: list[Any], *, config_filter: str) -> dict[str, Any]:
        assert config_filter == "all"
        told = {each.name: {name: {"value": self.has[each.name].get(name)} for name in each.configs} for each in asked}
        return {"topic": told}

    def alter_configs(self, resources: list[Any], *, raise_on_unknown: bool) -> dict[str, Any]:
        assert not raise_on_unknown
        for each in resources:
            if each.name not in self.denied:
                self.has[each.name] |= each.configs
        return {"topic": {each.name: "denied" if each.name in self.denied else "OK" for each in resources}}

    def wait_for_topics(self, names: list[str], *, timeout_ms: int) -> None:
        pass


def connected(client: PretendedClient, monkeypatch: pytest.MonkeyPatch) -> KafkaAdmin:
    monkeypatch.setattr("headrace.adapters.kafka.admin.KafkaAdminClient", lambda **_: client)
    monkeypatch.setattr("headrace.adapters.kafka.admin._somebody_listens", lambda *_: True)
    return KafkaAdmin("broker:9092")


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_all_replicas_but_one_must_have_a_record(monkeypatch: pytest.MonkeyPatch, replicas: int, in_sync: str):
    """Whatever the broker would ask for by itself; a topic's own settings are kept beside that."""
    client = PretendedClient()
    admin = connected(client, monkeypatch)
    assert admin.create([TopicSpec("t", 4, {"retention.ms": "7"})], replication_factor=replicas) == ["t"]
    assert client.created == {
        "t": {
            "num_partitions": 4,
            "replication_factor": replicas,
            "configs": {"retention.ms": "7", "min.insync.replicas": in_sync},
        }
    }


def test_every_topic_is_unpacked_by_the_broker_and_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch):
    """Whatever the broker's own are: producers compress as they like, and a retry is larger than the record that it is of."""
    client = PretendedClient()
    connected(client, monkeypatch).ensure_topics(partitions=4, replication_factor=1)
    for name, topic in client.created.items():
        returned = name.endswith((".retry", ".dlq"))
        assert topic["configs"]["compression.type"] == "uncompressed", name
        assert topic["configs"]["max.message.bytes"] == str(2 * 1024 * 1024 if returned else 1_048_588), name


def test_a_topic_that_exists_is_given_what_readers_rely_on_and_keeps_the_rest(monkeypatch: pytest.MonkeyPatch):
    """What was set is told, by topic; the second time there is nothing to set."""
    required = {"compression.type": "uncompressed", "max.message.bytes": "1048588"}
    older = {"compression.type": "producer", "max.message.bytes": "5000000", "retention.ms": "7"}
    client = PretendedClient({"headrace.ingest": older, "headrace.sample.submitted": dict(required)})
    admin = connected(client, monkeypatch)
    assert admin.ensure_topics(partitions=4, replication_factor=1).changed == {"headrace.ingest": required}
    assert client.has["headrace.ingest"] == {**required, "retention.ms": "7"}
    assert admin.ensure_topics(partitions=4, replication_factor=1).changed == {}


def test_a_topic_that_may_not_be_changed_is_an_error_that_says_what_it_must_have(monkeypatch: pytest.MonkeyPatch):
    """Whoever may change it then knows what to set."""
    client = PretendedClient({"headrace.ingest": {"compression.type": "producer", "max.message.bytes": "1048588"}})
    client.denied = {"headrace.ingest"}
    with pytest.raises(KafkaError, match=r"headrace\.ingest must have .*uncompressed.*: denied"):
        connected(client, monkeypatch).ensure_topics(partitions=4, replication_factor=1)
